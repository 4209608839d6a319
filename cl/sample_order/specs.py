"""Specifications of the node kinds that `cl order` adds: trace, grid and order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cl.graph.specs import Spec, TrainSpec


@dataclass(frozen=True)
class StreamSpec(Spec):
    """A stretch of plain training and the sets that its end is measured on.

    Args:
        stages: the train nodes whose batches change places.
        sets: names of the measured sets.
        tokens: validation tokens of each set.
        batch: rows per forward pass of the measurement.
    """

    stages: tuple[TrainSpec, ...]
    sets: tuple[str, ...]
    tokens: int
    batch: int

    @property
    def device(self) -> str | None:
        """That of the stages."""
        return self.stages[0].device


@dataclass(frozen=True)
class TraceSpec(StreamSpec):
    """Of a trace node: train in another order of batches.

    Args:
        order: numbers of the batches.
        keep: parameters that are stored: `all`, before every step, or `end`, at both ends.
    """

    kind = "trace"
    order: tuple[int, ...]
    keep: Literal["all", "end"]


@dataclass(frozen=True)
class EstimatorSpec(StreamSpec):
    """What an estimator of order effects stands on.

    Args:
        references: number of reference runs.
        stars: whether one step of every batch from the start is added.
        stride: positions between two support points.
        part: rows of each batch for the oracle `replay`; 0: none.
    """

    references: int
    stars: bool
    stride: int
    part: int


@dataclass(frozen=True)
class GridSpec(EstimatorSpec):
    """Of a grid node: gradients of all batches along the reference runs. gigabytes: largest size of the grid."""

    kind = "grid"
    gigabytes: float


@dataclass(frozen=True)
class OrderSpec(EstimatorSpec):
    """Of an order node: a query of the estimator.

    Args:
        ask: the query.
        oracle: how gradients are estimated.
        readout: how a loss is computed from parameters.
        ridge: of the secant's projection.
        seed: of everything that the query draws.
        objective: sets whose mean loss is estimated.
        orders: for `estimate`: orders of batches.
        truths: for `validate`: number of real runs.
        ceilings: for `validate`: whether Hessian-vector products are compared with.
        method: for `search`: the search method.
        trials: for `search`: orders that are estimated.
        force: for `search`: search in spite of a low fidelity.
        samples: for `position`: batches that are moved.
        design: for `position`: `shift` or `random`.
        draws: for `position`: random orders of the other batches.
        task_orders: for `tasks`: orders of the tasks.
    """

    kind = "order"
    ask: Literal["estimate", "validate", "search", "position", "tasks"]
    oracle: str
    readout: str
    ridge: float
    seed: int
    objective: tuple[str, ...]
    orders: tuple[tuple[int, ...], ...] = ()
    truths: int = 0
    ceilings: bool = False
    method: Literal["anneal", "genetic", "optuna"] = "anneal"
    trials: int = 0
    force: bool = False
    samples: tuple[int, ...] = ()
    design: Literal["shift", "random"] = "shift"
    draws: int = 0
    task_orders: tuple[tuple[int, ...], ...] = ()
