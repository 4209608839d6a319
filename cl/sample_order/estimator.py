"""Estimate the result of a run for another order of its batches, without training it again.

    estimator = build(stream, folder)                  # reference runs and the grid of gradients
    estimator.estimate(order).losses["validation"]     # milliseconds
    estimator.estimate_many(orders)                    # the same in matrix products

Optimizer and schedule are recomputed exactly along the new order; only gradients are estimated. arXiv 2505.22042 poses
the question; the method of that paper is `cl.sample_order.fut`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cl.errors import UserError
from cl.registry import unknown
from cl.sample_order import fill_grid, grid_oracles, model_oracles, readouts, trace_recorder
from cl.sample_order import references as runs_of
from cl.sample_order.batch_gradients import Stream
from cl.sample_order.grid import Grid, Supports
from cl.sample_order.grid_oracles import OfGrid, Secant
from cl.sample_order.optimizer_replay import Gradient, Update, simulate

ORACLES = (*grid_oracles.NAMES, "replay", "hvp_grid", "hvp_single")
MOST_AT_ONCE, AT_ONCE = 128, 2**26  # orders in a block, and scalars in one [orders, P] tensor
FAR = 3.0  # times the reference's path length: real orders of the same batches move less far


@dataclass(frozen=True)
class OrderEstimate:
    """Estimated result of one order.

    Args:
        order: number of the batch at each position.
        losses: nats per token of each target at the end of the order.
        residual: largest share, over the steps, of the displacement from the start that lies outside the span of the
            reference displacements; NaN for oracles without a projection.
        clipped: share of steps whose gradient was clipped.
        end: estimated final parameters [P].
    """

    order: tuple[int, ...]
    losses: Mapping[str, float]
    residual: float
    clipped: float
    end: Tensor


@dataclass
class Estimator:
    """Estimator of orders: an oracle for gradients and a readout of losses, on a grid.

    Args:
        stream: the batches, the targets and the model.
        grid: gradients of the batches at the support points.
        update: the optimizer step at each position.
        oracle: `secant`, `reuse`, `grid0`, `setadd`, `replay`, `hvp_grid` or `hvp_single`.
        readout: `forward`, `linear` or `quadratic`, see `cl.sample_order.readouts`.
        ridge: ridge of the secant's projection.
        nearest: whether the secant starts from the nearest support point instead of the start.
        runs: reference runs whose displacements the secant uses; None for all.
        part: rows of each batch from which `replay` computes a true gradient.

    Raises:
        UserError: `oracle` or `readout` is unknown.
    """

    stream: Stream
    grid: Grid
    update: Update
    oracle: str = "secant"
    readout: str = "forward"
    ridge: float = grid_oracles.RIDGE
    nearest: bool = True
    runs: tuple[int, ...] | None = None
    part: int = 0

    def __post_init__(self) -> None:
        if self.oracle not in ORACLES:
            raise UserError(unknown("order.oracle", self.oracle, ORACLES))
        if self.readout not in readouts.NAMES:
            raise UserError(unknown("order.readout", self.readout, readouts.NAMES))

    def estimate(self, order: Sequence[int]) -> OrderEstimate:
        """Estimate one order.

        Raises:
            UserError: the order is not a permutation of the batches, or the estimate diverges.
        """
        return self.estimate_many([order])[0]

    def estimate_many(self, orders: Sequence[Sequence[int]], batch: int | None = None) -> list[OrderEstimate]:
        """Estimate many orders, in blocks.

        Args:
            orders: the orders, each a permutation of the batches.
            batch: orders per block, whose state is [batch, P]; None: at most MOST_AT_ONCE orders and AT_ONCE scalars.

        Raises:
            UserError: an order is not a permutation of the batches, or an estimate diverges.
        """
        for order in orders:
            check(order, len(self.stream.batches))
        batch = batch or max(1, min(MOST_AT_ONCE, AT_ONCE // self.stream.size))
        found: list[OrderEstimate] = []
        for start in range(0, len(orders), batch):
            found += self._block(torch.tensor([list(order) for order in orders[start : start + batch]]))
        return found

    def _block(self, orders_ST: Tensor) -> list[OrderEstimate]:
        """Estimates of S orders at once."""
        secant = self._secant()
        state = simulate(self.grid.supports.start, orders_ST, self.update, self.oracle_of(orders_ST, secant))
        _check_finite(state.theta, self.grid.supports)
        losses = {name: self._read(place, name, secant, state.theta) for place, name in enumerate(self.stream.targets)}
        nothing = torch.full((len(orders_ST),), torch.nan)
        residuals = torch.stack(secant.residuals).amax(0) if secant.residuals else nothing
        return [
            OrderEstimate(
                tuple(order.tolist()),
                {name: float(values[i]) for name, values in losses.items()},
                float(residuals[i]),
                float(state.clipped[i]) / len(order),
                state.theta[i],
            )
            for i, order in enumerate(orders_ST)
        ]

    def _secant(self) -> Secant:
        """A fresh secant with the estimator's settings."""
        return Secant(self.grid.supports, self.ridge, self.runs, self.nearest)

    def oracle_of(self, orders_ST: Tensor, secant: Secant | None = None) -> Gradient:
        """The oracle that gives gradients along S orders.

        Args:
            orders_ST: the orders, [S, T].
            secant: secant to use, so that its residuals can be read afterwards; None for a fresh one.
        """
        secant = secant or self._secant()
        if self.oracle in ("hvp_grid", "hvp_single"):
            return model_oracles.curvature(self.stream, self.grid, single=self.oracle == "hvp_single")
        if self.oracle in ("secant", "replay"):
            chosen: grid_oracles.Choice = lambda position, gamma: secant(gamma)  # noqa: E731
        else:
            chosen = grid_oracles.choice(self.oracle, self.grid.supports, orders_ST, self.update)
        if self.oracle == "replay":
            return model_oracles.replay(self.stream, self.grid, self.part, chosen)
        return OfGrid(self.grid, chosen)

    def _read(self, place: int, name: str, secant: Secant, gamma_SP: Tensor) -> Tensor:
        """Loss [S] of the target with number `place` and name `name` at parameters [S, P], by the readout."""
        if self.readout == "forward":
            return torch.tensor([self.stream.loss(name, theta) for theta in gamma_SP], dtype=torch.float64)
        return readouts.expand(self.grid, secant, self.grid.batches + place, gamma_SP, self.readout == "quadratic")


def build(
    stream: Stream,
    folder: Path,
    *,
    references: int = 2,
    stars: bool = True,
    stride: int = 1,
    part: int = 0,
    seed: int = 0,
    **settings: Any,
) -> Estimator:
    """Train the reference runs, fill the grid and return the estimator.

    Files are kept in `folder`. The learner's parameters are the start of all runs and are restored afterwards.

    Args:
        stream: the batches and targets.
        folder: where the grid is stored.
        references: number of reference runs, see `cl.sample_order.references`.
        stars: whether to add one step of every batch from the start, see `cl.sample_order.references`.
        stride: positions between two support points of a reference run.
        part: rows of each batch whose own gradient the oracle `replay` needs; 0 for none.
        seed: seed of the random reference orders.
        settings: settings of the Estimator.
    """
    start, update = stream.read(), trace_recorder.update_of(stream)
    runs = runs_of.orders(len(stream.batches), references, seed)
    traces = [trace_recorder.record(stream, order, start).strided(stride) for order in runs]
    traces += runs_of.stars(stream, update, start) if stars else []
    folder.mkdir(parents=True, exist_ok=True)
    grid = fill_grid.measure(stream, Supports.of(traces), folder, part)
    stream.write(start)
    return Estimator(stream, grid, update, part=part, **settings)


def check(order: Sequence[int], batches: int) -> None:
    """Check that an order names each batch once.

    Raises:
        UserError: the order is not a permutation of the batches.
    """
    if len(order) != batches:
        raise UserError(f"order: has {len(order)} batches, the stream {batches}; name each batch once")
    if wrong := sorted(set(range(batches)) ^ set(order)):
        kind = "misses" if wrong[0] < batches else "names the unknown"
        raise UserError(f"order: {kind} batch {wrong[0]}; name 0 to {batches - 1} once each")


def _check_finite(theta_SP: Tensor, supports: Supports) -> None:
    """Raise UserError if an estimate is not finite or moved more than FAR times the reference's path length."""
    far = (theta_SP - supports.start).norm(dim=1)
    path = float(supports.paths[supports.at(0, len(supports.orders[0]))].sum())
    if not bool(torch.isfinite(far).all()) or float(far.max()) > FAR * path:
        raise UserError(
            f"order: an estimate moved {float(far.max()):.3g}, the reference's whole path is {path:.3g} long; "
            "lower train.lr or use the oracle `replay`"
        )
