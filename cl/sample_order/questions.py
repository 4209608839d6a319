"""Queries to an estimator: losses of orders, a better order, the effect of a position, matrices by task order."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cl.graph.roles import Inputs
from cl.sample_order import positions, references, searching
from cl.sample_order.estimator import Estimator, OrderEstimate
from cl.sample_order.optimizer_replay import simulate
from cl.sample_order.specs import OrderSpec

ASKED = 128  # orders estimated to time one estimate
DRAWN = 30  # random orders estimated to compare a search with


@dataclass(frozen=True)
class Question:
    """An estimator with a query.

    Args:
        estimator: the estimator.
        spec: specification of the order node.
        inputs: folder of each parent node, by role.
        progress: called with the work done and its total.
        retraining: seconds that one retraining takes.
    """

    estimator: Estimator
    spec: OrderSpec
    inputs: Inputs
    progress: Callable[[int, int], None]
    retraining: float

    @property
    def steps(self) -> int:
        """Number of batches of the stream."""
        return len(self.estimator.stream.batches)

    @property
    def given(self) -> float:
        """The measured objective after the given order, nats per token."""
        grid = self.estimator.grid
        losses = grid.losses[grid.supports.at(0, self.steps), grid.batches : grid.parts]
        return self.mean(dict(zip(self.estimator.stream.targets, map(float, losses), strict=True)))

    def mean(self, losses: Mapping[str, float]) -> float:
        """The objective: mean loss over the sets that the specification names."""
        return statistics.fmean(losses[name] for name in self.spec.objective)

    def losses(self, orders: Sequence[Sequence[int]]) -> list[float]:
        """The estimated objective of each order."""
        return [self.mean(found.losses) for found in self.estimator.estimate_many(orders)]

    def rows_at(self, thetas_SP: Tensor) -> Tensor:
        """Loss of each row of the objective's sets, [S, rows], computed by the model at parameters [S, P]."""
        stream = self.estimator.stream
        return torch.stack([torch.cat([stream.nll(name, x) for name in self.spec.objective]) for x in thetas_SP])

    def loss_at(self, theta_P: Tensor) -> float:
        """The objective computed by the model at given parameters."""
        return statistics.fmean(self.estimator.stream.loss(name, theta_P) for name in self.spec.objective)

    def cost(self) -> dict[str, float]:
        """Cost of preparation and of estimates, in retrainings; a retraining is one gradient of every batch.

        Returns:
            `preparation` in retrainings, where a set's gradient counts by its tokens; `orders_per_retraining`: orders
                estimated in the time of one retraining; `break_even`: number of orders from which estimating is cheaper
                than retraining; `bytes` of the grid.
        """
        grid, stream = self.estimator.grid, self.estimator.stream
        tokens = sum(float(batch.learned()) for batch in stream.batches)
        sets = sum(float(part.learned()) for parts in stream.targets.values() for part in parts)
        prepared = self.spec.references + len(grid.supports.places) * (1 + sets / tokens)
        started = time.monotonic()
        self.estimator.estimate_many(references.drawn(self.steps, ASKED, seed=1))
        each = (time.monotonic() - started) / ASKED / self.retraining
        return {
            "preparation": prepared,
            "orders_per_retraining": 1 / each,
            "break_even": prepared / (1 - each) if each < 1 else float(np.finfo(np.float64).max),
            "bytes": float(grid.columns.size * grid.columns.itemsize),
        }


def estimate(asked: Question) -> dict[str, Any]:
    """The estimated losses of the orders that the specification names."""
    return {"estimates": [_plain(found, asked) for found in asked.estimator.estimate_many(asked.spec.orders)]}


def _plain(found: OrderEstimate, asked: Question) -> dict[str, Any]:
    """An estimate as plain data."""
    return {
        "order": list(found.order),
        "loss": asked.mean(found.losses),
        "losses": dict(found.losses),
        "residual": None if np.isnan(found.residual) else found.residual,
        "clipped": found.clipped,
    }


def search(asked: Question) -> dict[str, Any]:
    """The best estimated orders, found by the readout and then ranked by the model's own loss, and random orders."""
    spec, tried = asked.spec, 0

    def losses(orders: Sequence[tuple[int, ...]]) -> list[float]:
        nonlocal tried
        tried += len(orders)
        asked.progress(min(tried, spec.trials), spec.trials)
        return asked.losses(orders)

    found = searching.search(spec.method, losses, asked.steps, spec.trials, spec.seed)
    forward = dataclasses.replace(asked, estimator=dataclasses.replace(asked.estimator, readout="forward"))
    ranked = sorted(zip(forward.losses(list(found)), found, strict=True))
    return {
        "found": [{"order": list(order), "loss": loss, "searched": found[order]} for loss, order in ranked],
        "random": forward.losses(references.drawn(asked.steps, DRAWN, spec.seed)),
        "tried": tried,
    }


def position(asked: Question) -> dict[str, Any]:
    """Two maps [samples, positions] over a batch's position: the loss on the batch, and the objective."""
    spec, stream, remembered, learned = asked.spec, asked.estimator.stream, [], []
    draws = spec.draws if spec.design == "random" else 1
    for done, batch in enumerate(spec.samples):
        asked.progress(done, len(spec.samples))
        orders = [
            order
            for at in range(asked.steps)
            for order in positions.moved(asked.steps, batch, at, spec.design, draws, spec.seed)
        ]
        found = asked.estimator.estimate_many(orders)
        remembered.append(positions.means([stream.learned(batch, one.end) for one in found], draws))
        learned.append(positions.means([asked.mean(one.losses) for one in found], draws))
    return {"samples": list(spec.samples), "memorisation": remembered, "generalisation": learned}


def tasks(asked: Question) -> dict[str, Any]:
    """The estimated result matrix of each task order: nats per token of every set after every task."""
    estimator, rows = asked.estimator, []
    stream, lengths = estimator.stream, [steps for _, steps in estimator.stream.legs]
    for done, order in enumerate(asked.spec.task_orders):
        asked.progress(done, len(asked.spec.task_orders))
        matrix = [
            {name: stream.loss(name, theta) for name in stream.targets}
            for theta in _behind_tasks(estimator, positions.order_of(order, lengths), positions.boundaries(lengths))
        ]
        rows.append({"tasks": list(order), "matrix": matrix, "loss": asked.mean(matrix[-1])})
    return {"task_orders": rows}


def _behind_tasks(estimator: Estimator, order: Sequence[int], behind: Sequence[int]) -> list[Tensor]:
    """The estimated parameters at the end of each task; `behind`: position after each task."""
    found: list[Tensor] = []
    orders_ST = torch.tensor([list(order)])

    def watch(at: int, theta_SP: Tensor) -> None:
        if at in behind:
            found.append(theta_SP[0].clone())

    state = simulate(estimator.grid.supports.start, orders_ST, estimator.update, estimator.oracle_of(orders_ST), watch)
    return [*found, state.theta[0]]
