"""Signals of whether an estimator can be trusted, computed without retraining.

* `held_out`: each reference run except the given order is estimated without its own displacements; the error of the
  estimated end, relative to the distance between the true end and the given order's end. 1 = no better than "nothing
  changes".
* `defect`: the true gradient g is computed at some points of estimated runs; the part of the change since the start
  that the oracle's gradient g~ misses, |g - g~| / |g - g_b(X_0)|. 1 = no better than the gradient at the start.
* `residual`: the largest share, over the steps, of the displacement that lies outside the span of the reference runs.
* `identity`: the error of the recomputed end of the given order, relative to the distance it moved: the error of the
  recomputation itself.
* `clipped`: share of estimated steps whose gradient is clipped. Clipping is a kink, where small errors may grow.
* `noise`: difference between the objective of the given order's real run and of its recomputation, in nats. On a GPU
  this is the change of the objective when a run is repeated.
* `effect`: standard deviation of the estimated objective over some orders, in nats.

The defect costs one gradient per point; the other signals cost no gradient.
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
"""Bounds of `defect`, read off the runs of experiments/sample_order.py (REPRODUCTION.md), all of one small model. The
worst Spearman was 0.91 below TRUST, 0.79 up to DOUBT and 0.68 above DOUBT; above BENT the quadratic readout ranked
better in four runs of five."""


@dataclass(frozen=True)
class Fidelity:
    """Signals of an estimator, each as defined at the top of this module; NaN where a signal cannot be computed.

    Args:
        held_out: error on reference runs that are left out, relative.
        defect: missed part of the change of gradients, relative.
        residual: share of the displacement outside the span.
        identity: error of the recomputed given order, relative.
        clipped: share of clipped steps.
        noise: nats per token.
        effect: nats per token.
    """

    held_out: float
    defect: float
    residual: float
    identity: float
    clipped: float
    noise: float
    effect: float

    @property
    def buried(self) -> bool:
        """Whether orders differ by less than the given order differs from its own recomputation."""
        return self.effect < self.noise

    @property
    def verdict(self) -> str:
        """`trust`, `verify` or `refuse`, by the defect."""
        return "trust" if self.defect < TRUST else "verify" if self.defect < DOUBT else "refuse"

    @property
    def readout(self) -> str:
        """The readout to use, by the defect.

        `quadratic` from BENT on: far from the true parameters the model's loss is too high to rank orders by.
        """
        return "forward" if self.defect < BENT else "quadratic"


def fidelity(estimator: Estimator, orders: int = 3, points: int = 4, seed: int = 0) -> Fidelity:
    """Compute the signals of an estimator.

    Args:
        estimator: the estimator.
        orders: number of random orders to estimate.
        points: positions of each order at which the true gradient is computed.
        seed: seed of the random orders.

    Raises:
        UserError: recomputing the given order misses its end by more than MISMATCH, so that gradients or steps are not
            the trained ones.
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
    """Difference in nats between the objectives of the given order's real run and of its recomputation.

    NaN if a stride left out points of the run.
    """
    ends = _given_ends(estimator)
    if ends is None:
        return float("nan")
    recomputed, real = (
        statistics.fmean(estimator.stream.loss(name, end) for name in estimator.stream.targets) for end in ends
    )
    return abs(recomputed - real)


def identity(estimator: Estimator) -> float:
    """Relative error of the given order's recomputed end, with gradients at the points of the real run.

    NaN if a stride left out points of the run. Not zero to the last bit: a parameter whose gradient is only rounding
    error (a bias of attention's keys) still moves by the learning rate.
    """
    ends = _given_ends(estimator)
    if ends is None:
        return float("nan")
    recomputed, real = ends
    return float((recomputed - real).norm() / (real - estimator.grid.supports.start).norm())


def _given_ends(estimator: Estimator) -> tuple[torch.Tensor, torch.Tensor] | None:
    """End of the given order, recomputed and really trained; None if a stride left points out."""
    supports = estimator.grid.supports
    if supports.places[1][1] != 1:
        return None
    exact = dataclasses.replace(estimator, oracle="secant", readout="linear")
    real = supports.point(supports.at(0, len(supports.orders[0])))
    return exact.estimate(supports.orders[0]).end, real


def held_out(estimator: Estimator) -> float:
    """Mean error of reference runs estimated without their own displacements; NaN if there is only one run."""
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
    """Mean part of the change of gradients that the oracle misses, at evenly spaced positions of some orders.

    Args:
        estimator: the estimator.
        orders: orders to estimate.
        points: positions of each order at which the true gradient is computed.
    """
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
