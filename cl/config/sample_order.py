"""Settings of `cl order`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from cl.config.train import MOST_ROWS
from cl.errors import UserError
from cl.plain_values import MOST_AMOUNT, SEEDS, require_between

MOST, MOST_ESTIMATES = 10_000, 100_000_000
"""Orders that are trained or drawn, and orders that are estimated."""
ORDERS = ("given", "reversed", "random")
"""Orders of batches by name."""


@dataclass(frozen=True)
class SampleOrder:
    """How `cl order` estimates the effect of the order of batches; `cl run` ignores these settings.

    Args:
        strategy: label of the strategy whose batches are reordered; by default the only strategy.
        first: number, in the stream, of the first task whose batches are reordered; earlier tasks keep their order.
        references: number of reference runs, which are really trained: the given order, its reverse, then random
            orders.
        stars: also use one step of every batch from the start as reference; Adam's first steps go in these directions.
        stride: positions between two support points of a reference run.
        oracle: how gradients are estimated: `secant`, `reuse`, `grid0`, `setadd`, `replay`, `hvp_grid` or
            `hvp_single`.
        readout: how parameters become a loss: `forward`, `quadratic`, `linear`, or `auto`: `forward` if the estimator's
            signals are good, else `quadratic`.
        ridge: ridge penalty of the oracle `secant`.
        part: rows of each batch whose gradient the oracle `replay` computes along every order; 0 for other oracles.
        gigabytes: largest size of the gradient grid, in GB.
        objective: data sets whose mean validation loss is estimated; by default the tasks whose batches are reordered.
        tokens: validation tokens of each data set of the objective; gradients are computed at every support point.
        orders: for `estimate`: orders as lists of batch numbers, or `given`, `reversed`, `random`.
        held_out: for `validate`: number of random orders that are really trained.
        ceilings: for `validate`: also compare with Hessian-vector products, which cost more than retraining.
        method: for `search`: `anneal`, `genetic` or `optuna`.
        trials: for `search`: number of orders that are estimated.
        verify: for `search`: number of best orders that are really trained.
        force: for `search`: search even if the estimator's fidelity is too low to rank orders.
        samples: for `position`: numbers of the batches that are moved; by default five, evenly spaced.
        design: for `position`: `shift` (all other batches keep their order) or `random` (mean over their random
            orders).
        draws: for `position`: number of random orders of the design `random`.
        seed: seed of random orders and of the search.
    """

    strategy: str | None = None
    first: int = 1
    references: int = 2
    stars: bool = True
    stride: int = 1
    oracle: Literal["secant", "reuse", "grid0", "setadd", "replay", "hvp_grid", "hvp_single"] = "secant"
    readout: Literal["auto", "forward", "quadratic", "linear"] = "auto"
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
        require_between(self, "order", first=(1, MOST), references=(1, MOST), stride=(1, MOST), part=(0, MOST_ROWS))
        require_between(self, "order", tokens=(1, MOST_AMOUNT), held_out=(3, MOST), trials=(1, MOST_ESTIMATES))
        require_between(self, "order", verify=(0, MOST), draws=(1, MOST), seed=(0, SEEDS - 3))  # seed + 2 is drawn, too
        for place, order in enumerate(self.orders):
            if isinstance(order, str) and order not in ORDERS:
                raise UserError(
                    f"order.orders[{place}]: {order!r} is none of {', '.join(ORDERS)}, and no list of batches"
                )
        if not self.orders or self.objective == [] or self.samples == []:
            raise UserError("order: orders, objective and samples must not be empty lists; leave them out")
        if min(self.samples or [0]) < 0:
            raise UserError(f"order.samples: {self.samples} must be numbers of batches, from 0")
        if self.ridge < 0 or self.gigabytes <= 0:
            raise UserError(f"order: ridge {self.ridge} must be at least 0, gigabytes {self.gigabytes} above 0")
        if (self.oracle == "replay") != (self.part > 0):
            raise UserError(
                f"order.part: {self.part} does not fit oracle {self.oracle}; `replay` needs part >= 1, other oracles 0"
            )
