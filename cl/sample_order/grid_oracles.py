"""Oracles that estimate a batch's gradient at a new point from the grid alone.

    g_b(gamma) ~ g_b(X_0) + sum_k a_k dG_kb          an oracle chooses the coefficients a, [S, K]

* `secant` uses the parameters that an order has reached: a = paths[anchor] + (UU^T + ridge I)^-1 U (gamma - anchor).
  This is block-Broyden on the span of the reference displacements; a permuted run stays near that span because the same
  batches built it.
* `reuse`, `grid0` and `setadd` use only the order of the batches. `reuse` takes the gradient that the given order had
  for the same batch, `grid0` the gradient at the same position of the given order; `setadd` adds the changes that the
  steps of the earlier batches made in the given order.

Derived in the project's specification; measured in REPRODUCTION.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cl.errors import UserError
from cl.sample_order.grid import Grid, Supports
from cl.sample_order.optimizer_replay import Update

RIDGE = 1e-2
NAMES = ("secant", "reuse", "grid0", "setadd")
Choice = Callable[[int, Tensor], Tensor]
"""Maps a position and the parameters [S, P] of S orders at it to coefficients [S, K]."""


@dataclass
class Secant:
    """The multi-secant choice of coefficients.

    Args:
        supports: support points of the reference runs.
        ridge: ridge on the coefficients of unit displacements.
        runs: reference runs whose displacements are used; None for all.
        nearest: whether the anchor is the nearest support point, which makes every reference order exact, instead of
            the start.
        residuals: filled by the calls: share [S] of the displacement outside the span, one entry per call.
    """

    supports: Supports
    ridge: float = RIDGE
    runs: tuple[int, ...] | None = None
    nearest: bool = True
    residuals: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        runs = range(len(self.supports.orders)) if self.runs is None else self.runs
        self.used = self.supports.of_runs(tuple(runs))
        gram = self.supports.gram[self.used][:, self.used]
        self.inverse = torch.linalg.inv(gram + self.ridge * torch.eye(len(gram), dtype=torch.float64))
        anchors = [0, *(self.used + 1).tolist()] if self.nearest else [0]
        self.anchors = self.supports.paths[anchors]  # [A, K]

    def __call__(self, gamma_SP: Tensor) -> Tensor:
        """Coefficients [S, K] in fp64 at the current parameters [S, P] of S orders."""
        moved = gamma_SP - self.supports.start
        along = (moved @ self.supports.directions.T).double()
        anchor = self.anchors[self._nearest(along)]
        beyond = (along - anchor @ self.supports.gram)[:, self.used] @ self.inverse
        found = anchor.clone()
        found[:, self.used] += beyond
        self.residuals.append(self._residual(found, along, moved))
        return found

    def _nearest(self, along_SK: Tensor) -> Tensor:
        """Index of the anchor nearest to each order's parameters, [S]."""
        squares = ((self.anchors @ self.supports.gram) * self.anchors).sum(1)
        return (squares - 2 * along_SK @ self.anchors.T).argmin(1)

    def _residual(self, found: Tensor, along: Tensor, moved: Tensor) -> Tensor:
        """Share outside the span, |moved - U^T a| / |moved|, [S]; 0 where nothing moved."""
        size = moved.double().square().sum(1)
        left = size - 2 * (found * along).sum(1) + ((found @ self.supports.gram) * found).sum(1)
        return (left.clamp(min=0) / size.clamp(min=1e-30)).sqrt()


@dataclass
class OfGrid:
    """An oracle that needs no model: chosen coefficients times the columns of the grid.

    Args:
        grid: gradients at the support points.
        choose: the choice of coefficients.
    """

    grid: Grid
    choose: Choice

    def __call__(self, position: int, batches_S: Tensor, gamma_SP: Tensor) -> Tensor:
        """Gradients [S, P] of the batches [S] of S orders at parameters [S, P]."""
        return self.grid.gradients(batches_S, self.choose(position, gamma_SP))


def choice(name: str, supports: Supports, orders_ST: Tensor, update: Update) -> Choice:
    """The coefficients of `reuse`, `grid0` or `setadd` along S orders.

    Args:
        name: name of the oracle.
        supports: support points of the reference runs.
        orders_ST: the orders, [S, T].
        update: the optimizer, for its learning rates.

    Raises:
        UserError: the support points of the given order were taken with a stride above 1.
    """
    steps = orders_ST.shape[1]
    given = {batch: position for position, batch in enumerate(supports.orders[0])}
    try:
        points = torch.tensor([supports.at(0, position) for position in range(steps + 1)])
    except KeyError:
        raise UserError(f"order.oracle: {name} needs every step of the given order; set order.stride to 1") from None
    seen = torch.tensor([given[batch] for batch in range(steps)])[orders_ST]  # position in the given order, [S, T]
    if name == "reuse":
        return lambda position, gamma: supports.paths[points[seen[:, position]]]
    if name == "grid0":
        return lambda position, gamma: supports.paths[points[position]].expand(len(gamma), -1)
    assert name == "setadd", name
    rates = torch.tensor(update.rates, dtype=torch.float64)
    single = supports.paths[points[1:]] - supports.paths[points[:-1]]  # [T, K]: the displacement of each position

    def added(position: int, gamma: Tensor) -> Tensor:
        before = seen[:, :position]  # [S, position]
        scale = rates[:position] / rates[before]
        return torch.einsum("si,sik->sk", scale, single[before])

    return added
