"""Oracles that ask the model: ceilings of what can be known."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.sample_order import estimator as estimators
from cl.sample_order import fut
from tests.support.sample_order import relative, toy_stream

OTHERS = [(2, 0, 4, 1, 3), (1, 3, 0, 4, 2), (3, 4, 1, 0, 2), (4, 0, 3, 2, 1)]


@pytest.mark.slow
def test_ceilings_are_closer_than_the_grid(tmp_path: Path) -> None:
    stream = toy_stream(lr=3e-3)
    start = stream.read()
    built = estimators.build(stream, tmp_path, part=2)
    errors = {
        oracle: sum(
            relative(stream, found.end, found.order, start)
            for found in estimators.Estimator(stream, built.grid, built.update, oracle, part=2).estimate_many(OTHERS)
        )
        for oracle in ("reuse", "grid0", "secant", "replay", "hvp_grid", "hvp_single")
    }
    assert errors["hvp_grid"] < errors["grid0"] < errors["reuse"]
    assert errors["replay"] < errors["grid0"]
    assert errors["secant"] < errors["grid0"]
    exact = fut.estimate(built.grid, built.update, OTHERS[0], 2, fut.exact(stream, built.grid))
    assert relative(stream, exact, OTHERS[0], start) > relative(stream, built.estimate(OTHERS[0]).end, OTHERS[0], start)
