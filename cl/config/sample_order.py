"""Settings of `cl order`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cl.errors import UserError


@dataclass(frozen=True)
class SampleOrder:
    """How the effect of the order of batches is estimated, and what is asked (`cl order`). `cl run` does not read it.

    Args:
        strategy: label of the strategy whose runs are reordered; by default the only one.
        first: task whose batches are the first to change places, by its number in the stream; tasks before it are
            trained as they are.
        references: real runs that an estimate stands on: the given order, its reverse, then random ones.
        stars: add one step of every batch from the start, which is where Adam's first steps go.
        stride: positions between two support points of a reference run.
        oracle: how gradients are estimated: `secant`, or `reuse`, `grid0`, `setadd`, `replay`, `hvp_grid`,
            `hvp_single`.
        readout: from parameters to a loss: `forward`, `quadratic`, `linear`, or `auto`: `forward` where the estimator's
            signals are good, else `quadratic`.
        ridge: of the secant's projection.
        part: rows of each batch that the oracle `replay` learns from along every order; 0 = none.
        gigabytes: most that the grid of gradients may take.
        objective: sets whose mean validation loss is estimated; by default the tasks whose batches change places.
        tokens: validation tokens of each set of the objective; their gradients are computed at every support point.
        orders: for `estimate`: orders as lists of batch numbers, or `given`, `reversed`, `random`.
        held_out: for `validate`: how many random orders are really trained.
        ceilings: for `validate`: compare with Hessian-vector products too; dearer than retraining.
        method: for `search`: `anneal`, `genetic` or `optuna`.
        trials: for `search`: orders that are estimated.
        verify: for `search`: how many of the best are really trained.
        force: for `search`: search although the estimator's fidelity says that ranks are useless.
        samples: for `position`: batches that are moved; by default five, evenly spaced.
        design: for `position`: `shift` (the others keep their order) or `random` (mean over random orders of them).
        draws: for `position`: random orders of the others.
        seed: of random orders and of the search.
    """

    strategy: str | None = None
    first: int = 1
    references: int = 2
    stars: bool = True
    stride: int = 1
    oracle: str = "secant"
    readout: str = "auto"
    ridge: float = 1e-2
    part: int = 0
    gigabytes: float = 4.0
    objective: list[str] | None = None
    tokens: int = 4096
    orders: list[str | list[int]] = field(default_factory=lambda: ["given", "reversed", "random"])
    held_out: int = 12
    ceilings: bool = False
    method: Literal["anneal", "genetic", "optuna"] = "anneal"
    trials: int = 2000
    verify: int = 3
    force: bool = False
    samples: list[int] | None = None
    design: Literal["shift", "random"] = "shift"
    draws: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "first": 1,
            "references": 1,
            "stride": 1,
            "part": 0,
            "tokens": 1,
            "held_out": 3,
            "verify": 0,
            "draws": 1,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UserError(f"order.{name}: {getattr(self, name)} must be at least {bound}")
        if self.ridge < 0 or self.gigabytes <= 0:
            raise UserError(f"order: ridge {self.ridge} must be at least 0, gigabytes {self.gigabytes} above 0")
        if (self.oracle == "replay") != (self.part > 0):
            raise UserError(
                f"order.part: {self.part} rows with the oracle {self.oracle}; `replay` needs some, others none"
            )
