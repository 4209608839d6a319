"""Whether an estimator may be believed, told without retraining.

    held_out   each reference run but the given one is estimated without its own displacements: the error of its
               end, relative to its distance from the given order's end; 1 = no better than "nothing changes"
    defect     at some points of estimated runs the true gradient is computed: what the oracle missed of its change
               since the start, |g - g~| / |g - g_b(X_0)|; 1 = no better than the gradient at the start
    residual   the largest share of the displacement, over the steps, that reference runs never went
    identity   the error of the given order's own end, relative to how far it went: what the recomputation gets wrong
    clipped    share of estimated steps whose gradient is clipped: a kink, where small errors may turn into large ones
    noise      how far the objective of the given order, recomputed, is from its real run's: on a GPU, what repeating it
               changes; nats. effect: standard deviation of what some orders are estimated to come to; nats

All but the defect are free; that costs a gradient a point.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cl.errors import UserError
from cl.sample_order import references
from cl.sample_order.estimator import Estimator
from cl.sample_order.optimizer_replay import simulate

MISMATCH = 0.01
TRUST, BENT, DOUBT = 0.35, 0.45, 0.6
"""Bounds of `defect`, read off the runs of experiments/sample_order.py (REPRODUCTION.md), all of one small model: below
the first the worst Spearman was 0.91, up to the last 0.79, beyond it 0.68; above the middle one the quadratic readout
ranked better in four runs of five."""


@dataclass(frozen=True)
class Fidelity:
    """The signals; NaN where there is nothing to compute one from."""

    held_out: float
    defect: float
    residual: float
    identity: float
    clipped: float
    noise: float
    effect: float

    @property
    def buried(self) -> bool:
        """Whether orders differ by less than the given one from itself."""
        return self.effect < self.noise

    @property
    def verdict(self) -> str:
        """`trust`, `verify` or `refuse`."""
        return "trust" if self.defect < TRUST else "verify" if self.defect < DOUBT else "refuse"

    @property
    def readout(self) -> str:
        """Which readout suits: once estimated parameters are far off, the model's loss there is too high to rank by."""
        return "forward" if self.defect < BENT else "quadratic"


def fidelity(estimator: Estimator, orders: int = 3, points: int = 4, seed: int = 0) -> Fidelity:
    """The signals of an estimator from so many random orders, and so many positions of each.

    Raises UserError where the given order itself is not recomputed: then gradients or steps are not what was trained.
    """
    same = identity(estimator)
    if same > MISMATCH:
        raise UserError(
            f"order: the given order, recomputed, misses its own end by {same:.1%} of its way: gradients differ from "
            "run to run; record again on one machine, and with deterministic kernels on a GPU"
        )
    steps = len(estimator.stream.batches)
    asked = references.drawn(steps, orders, seed, estimator.grid.supports.orders)
    found = estimator.estimate_many(asked)
    residual, clipped = (statistics.fmean(getattr(one, name) for one in found) for name in ("residual", "clipped"))
    effect = statistics.pstdev(statistics.fmean(one.losses.values()) for one in found)
    return Fidelity(
        held_out(estimator), defect(estimator, asked, points), residual, same, clipped, noise(estimator), effect
    )


def noise(estimator: Estimator) -> float:
    """The difference in nats between the given order's real run and its recomputation; NaN: it is not all known."""
    ends = _given_ends(estimator)
    if ends is None:
        return float("nan")
    recomputed, real = (
        statistics.fmean(estimator.stream.loss(name, end) for name in estimator.stream.targets) for end in ends
    )
    return abs(recomputed - real)


def identity(estimator: Estimator) -> float:
    """The relative error of the given order's end, with gradients of the points that it went through; NaN: not all are.

    Not zero to the last bit: a parameter whose gradient is nothing but rounding (a bias of attention's keys) moves by
    the learning rate all the same.
    """
    ends = _given_ends(estimator)
    if ends is None:
        return float("nan")
    recomputed, real = ends
    return float((recomputed - real).norm() / (real - estimator.grid.supports.start).norm())


def _given_ends(estimator: Estimator) -> tuple[torch.Tensor, torch.Tensor] | None:
    """Where the given order ends, recomputed and really trained; None where a stride left points out."""
    supports = estimator.grid.supports
    if supports.places[1][1] != 1:
        return None
    exact = dataclasses.replace(estimator, oracle="secant", readout="linear")
    real = supports.point(supports.at(0, len(supports.orders[0])))
    return exact.estimate(supports.orders[0]).end, real


def held_out(estimator: Estimator) -> float:
    """The error of reference runs that the estimator is not shown; NaN where there is only one."""
    supports = estimator.grid.supports
    steps, errors = len(supports.orders[0]), []
    given = supports.point(supports.at(0, steps))
    for run, order in enumerate(supports.orders):
        if run and len(order) == steps:
            others = tuple(other for other in range(len(supports.orders)) if other != run)
            without = dataclasses.replace(estimator, runs=others, readout="linear")
            end = supports.point(supports.at(run, steps))
            errors.append(float((without.estimate(order).end - end).norm() / (given - end).norm()))
    return statistics.fmean(errors) if errors else float("nan")


def defect(estimator: Estimator, orders: Sequence[Sequence[int]], points: int) -> float:
    """What the oracle misses of the change of gradients at evenly spaced positions of some orders."""
    steps = len(estimator.stream.batches)
    places = {round((i + 1) * (steps - 1) / points) for i in range(points)}
    missed: list[float] = []
    orders_ST = torch.tensor([list(order) for order in orders])
    oracle = estimator.oracle_of(orders_ST)

    def gradient(position: int, batches_S: torch.Tensor, gamma_SP: torch.Tensor) -> torch.Tensor:
        found = oracle(position, batches_S, gamma_SP)
        for batch, gamma, guessed in zip(batches_S.tolist(), gamma_SP, found, strict=True):
            if position in places:
                true, start = estimator.stream.gradient(batch, gamma)[1], estimator.grid.column(batch)[0]
                missed.append(float((true - guessed).norm() / (true - start).norm().clamp(min=1e-30)))
        return found

    simulate(estimator.grid.supports.start, orders_ST, estimator.update, gradient)
    return statistics.fmean(missed)
