"""The estimator on a toy language model: exact on what it has seen, batched as looped, sparing with the model."""

from __future__ import annotations

import dataclasses
import statistics
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch

from cl.errors import UserError
from cl.sample_order import estimator as estimators
from cl.sample_order import references
from cl.sample_order.fidelity import fidelity, noise
from tests.support.sample_order import relative, toy_stream

BATCHES = 5
OTHERS = [(2, 0, 4, 1, 3), (1, 3, 0, 4, 2), (3, 4, 1, 0, 2), (4, 0, 3, 2, 1)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> estimators.Estimator:
    return estimators.build(toy_stream(), tmp_path_factory.mktemp("grid"))


def test_reference_orders_are_exact(built: estimators.Estimator) -> None:
    start = built.grid.supports.start
    for order in built.grid.supports.orders[:2]:
        assert relative(built.stream, built.estimate(order).end, order, start) < 2e-3


@pytest.mark.parametrize("readout", ["forward", "quadratic", "linear"])
@pytest.mark.parametrize("oracle", ["secant", "reuse", "grid0", "setadd"])
def test_many_is_the_loop_over_one(built: estimators.Estimator, oracle: str, readout: str) -> None:
    asked = estimators.Estimator(built.stream, built.grid, built.update, oracle, readout)
    many, looped = asked.estimate_many(OTHERS, batch=3), [asked.estimate(order) for order in OTHERS]
    for a, b in zip(many, looped, strict=True):
        assert a.order == b.order
        assert torch.allclose(a.end, b.end, atol=1e-6)
        assert a.losses["val"] == pytest.approx(b.losses["val"], abs=1e-6)


def test_the_model_is_asked_by_the_forward_readout_alone(built: estimators.Estimator) -> None:
    forward = estimators.Estimator(built.stream, built.grid, built.update, readout="forward")
    with patch.object(built.stream, "write", side_effect=built.stream.write) as touched:
        forward.estimate_many(OTHERS)
        assert touched.call_count == len(OTHERS)
        for readout in ("quadratic", "linear"):
            dataclasses.replace(forward, readout=readout).estimate_many(OTHERS)
        assert touched.call_count == len(OTHERS)


def test_readouts_agree_near_a_reference(built: estimators.Estimator) -> None:
    end = built.grid.supports.orders[1]
    values = [
        estimators.Estimator(built.stream, built.grid, built.update, readout=readout).estimate(end).losses["val"]
        for readout in ("forward", "linear", "quadratic")
    ]
    assert values == pytest.approx([values[0]] * 3, abs=1e-4)


def test_effects_below_the_noise_of_the_given_order_are_said_to_be_buried(built: estimators.Estimator) -> None:
    signals = fidelity(built)
    drawn = references.drawn(BATCHES, 3, 0, built.grid.supports.orders)
    losses = [found.losses["val"] for found in built.estimate_many(drawn)]
    assert signals.effect == pytest.approx(statistics.pstdev(losses))
    assert signals.noise < 0.01 * signals.effect  # a CPU repeats itself
    assert not signals.buried
    assert dataclasses.replace(signals, noise=2 * signals.effect).buried
    end = built.stream.loss("val", built.grid.supports.point(BATCHES))
    shifted = dataclasses.replace(built.update, rates=tuple(1.005 * rate for rate in built.update.rates))
    other = dataclasses.replace(built, update=shifted)
    assert noise(other) == pytest.approx(abs(built.stream.loss("val", other.estimate(range(BATCHES)).end) - end))


def test_a_given_order_that_is_not_recomputed_is_refused(built: estimators.Estimator) -> None:
    other = dataclasses.replace(built.update, rates=tuple(2 * rate for rate in built.update.rates))
    with pytest.raises(UserError, match="recomputed, misses its own end by"):
        fidelity(dataclasses.replace(built, update=other))


def test_the_grid_goes_on_where_it_was_interrupted(built: estimators.Estimator, tmp_path: Path) -> None:
    stream, calls = toy_stream(), 0
    gradient = stream.gradient

    def failing(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 23:
            raise KeyboardInterrupt
        return gradient(*arguments, **options)

    with patch.object(stream, "gradient", failing), pytest.raises(KeyboardInterrupt):
        estimators.build(stream, tmp_path)
    again = toy_stream()
    with patch.object(again, "gradient", side_effect=again.gradient) as counted:
        found = estimators.build(again, tmp_path)
    assert counted.call_count == BATCHES * (len(found.grid.supports.places) + 1) - BATCHES * 3  # three points were done
    assert torch.equal(found.grid.column(2), built.grid.column(2))


@pytest.mark.parametrize(
    ("order", "message"),
    [
        ((0, 1, 2), "has 3 batches, the stream 5"),
        ((0, 1, 2, 3, 3), "misses batch 4"),
        ((0, 1, 2, 3, 9), "misses batch 4"),
        ((0, 1, 2, 3, 4, 5), "has 6 batches"),
    ],
)
def test_what_is_no_permutation_is_refused(built: estimators.Estimator, order: tuple[int, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        built.estimate(order)


def test_unknown_settings_are_refused(built: estimators.Estimator) -> None:
    with pytest.raises(UserError, match=r"order\.oracle: 'secent' is unknown; did you mean 'secant'"):
        estimators.Estimator(built.stream, built.grid, built.update, oracle="secent")
    with pytest.raises(UserError, match=r"order\.readout: 'cubic'"):
        estimators.Estimator(built.stream, built.grid, built.update, readout="cubic")


def test_an_estimate_that_flies_away_is_refused(built: estimators.Estimator) -> None:
    hot = built.update.__class__(**(built.update.__dict__ | {"rates": tuple(r * 50 for r in built.update.rates)}))
    with pytest.raises(UserError, match=r"lower train\.lr"):
        estimators.Estimator(built.stream, built.grid, hot).estimate(OTHERS[0])
