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
from cl.methods.method import Method, MicroBatch
from cl.sample_order import estimator as estimators
from cl.sample_order import fut, references, trace_recorder
from cl.sample_order.batch_gradients import Stream
from cl.sample_order.fidelity import fidelity, noise
from cl.sample_order.optimizer_replay import simulate
from strategies.schedules.rewarm import RewarmCosine
from tests.orders_fixture import toy_stream

BATCHES = 5
OTHERS = [(2, 0, 4, 1, 3), (1, 3, 0, 4, 2), (3, 4, 1, 0, 2), (4, 0, 3, 2, 1)]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> estimators.Estimator:
    return estimators.build(toy_stream(), tmp_path_factory.mktemp("grid"))


def relative(stream: Stream, found: torch.Tensor, order: Any, start: torch.Tensor) -> float:
    """Error of an end, relative to how far it is from the start."""
    true = torch.from_numpy(trace_recorder.record(stream, order, start).points[-1].copy())
    stream.write(start)
    return float((found - true).norm() / (true - start).norm())


@pytest.mark.parametrize("methods", [[], [RewarmCosine()]])
@pytest.mark.parametrize("train", [{}, {"clip": 0.3, "weight_decay": 0.5}, {"micro_batch": 2}])
def test_the_recursion_with_true_gradients_is_the_real_run(methods: list[Method], train: dict[str, Any]) -> None:
    stream = toy_stream(BATCHES, methods=methods, **train)
    start = stream.read()

    def true(position: int, batches: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
        return torch.stack([stream.gradient(int(b), x)[1] for b, x in zip(batches, gamma, strict=True)])

    for order in [(0, 1, 2, 3, 4), *OTHERS[:1]]:
        found = simulate(start, torch.tensor([order]), trace_recorder.update_of(stream), true)
        # Key biases have no gradient but rounding, which Adam makes a step of: that is all the difference there is.
        assert relative(stream, found.theta[0], order, start) < 2e-3


def test_dropout_belongs_to_a_batch(tmp_path: Path) -> None:
    stream = toy_stream(dropout=0.5)
    start = stream.read()
    (first, one), (second, other) = stream.gradient(1, start), stream.gradient(1, start)
    assert first == second
    assert torch.equal(one, other)
    assert stream.gradient(2, start)[0] != stream.gradient(1, start)[0]

    def true(position: int, batches: torch.Tensor, gamma: torch.Tensor) -> torch.Tensor:
        return torch.stack([stream.gradient(int(b), x)[1] for b, x in zip(batches, gamma, strict=True)])

    found = simulate(start, torch.tensor([OTHERS[0]]), trace_recorder.update_of(stream), true)
    assert relative(stream, found.theta[0], OTHERS[0], start) < 2e-3  # the learner's own dropout is the same


def test_looking_leaves_the_generators_alone() -> None:
    stream = toy_stream(dropout=0.5)
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)
    stream.gradient(0, stream.read())
    assert torch.equal(torch.rand(1), expected)


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


def test_fidelity_is_worse_where_the_rate_is_too_high(tmp_path: Path) -> None:
    found = [fidelity(estimators.build(toy_stream(lr=lr), tmp_path / str(lr))) for lr in (1e-4, 3e-2)]
    assert found[0].defect < found[1].defect
    assert found[0].held_out < found[1].held_out
    assert (found[0].verdict, found[0].readout) == ("trust", "forward")


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


class Penalty(Method):
    def loss_terms(self, batch: MicroBatch) -> dict[str, torch.Tensor]:
        return {}


def test_a_method_that_remembers_is_refused() -> None:
    with pytest.raises(UserError, match="Penalty acts on more than a step's own batch"):
        toy_stream(methods=[Penalty()])


def test_an_estimate_that_flies_away_is_refused(built: estimators.Estimator) -> None:
    hot = built.update.__class__(**(built.update.__dict__ | {"rates": tuple(r * 50 for r in built.update.rates)}))
    with pytest.raises(UserError, match=r"lower train\.lr"):
        estimators.Estimator(built.stream, built.grid, hot).estimate(OTHERS[0])
