"""Estimates held against real retrainings."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.order_command import run, toy


@pytest.mark.slow
def test_validation_ranks_better_than_chance_and_says_what_it_cost(tmp_path: Path) -> None:
    answer = run(toy(tmp_path, train={"lr": 1e-3}), "validate")
    rows = {row["name"]: row for row in answer["agreement"]}
    assert {"secant, forward", "secant, quadratic", "grid0, forward", "FUT, 0 terms", "ridge on 5 real runs"} <= set(
        rows
    )
    assert rows["secant, forward"]["spearman"] > 0.8
    assert rows["secant, forward"]["path"] < rows["grid0, forward"]["path"] < rows["FUT, 0 terms"]["path"]
    assert rows["secant, forward"]["error"] < rows["secant, forward"]["constant"]
    assert answer["cost"]["preparation"] == pytest.approx(2 + 25 * (1 + 2 * 256 / (8 * 4 * 32)), rel=0.05)
    assert answer["fidelity"]["verdict"] in ("trust", "verify")
