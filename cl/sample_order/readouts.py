"""Readouts: from the estimated parameters at the end of an order to the loss on a target.

    forward     the target's loss at the estimated parameters: one forward pass of the target
    linear      L(X) + <g(X), delta>                          X the end of a reference run, delta = gamma_T - X
    quadratic   linear + 1/2 <delta, sum_k a_k(delta) dG_k>   the target is one more column of the grid

`linear` and `quadratic` expand around the nearest end of a reference run. Derived in this project, not published.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cl.sample_order.grid import Grid
from cl.sample_order.grid_oracles import Secant

NAMES = ("forward", "linear", "quadratic")


def expand(grid: Grid, secant: Secant, target: int, gamma_SP: Tensor, quadratic: bool) -> Tensor:
    """Loss [S] of a target in fp64 at parameters [S, P], by the `linear` or `quadratic` readout.

    Args:
        grid: the grid.
        secant: projection that gives a_k(delta), and the reference runs that may be used.
        target: number of the target's column.
        gamma_SP: parameters.
        quadratic: add the second-order term.
    """
    supports, column = grid.supports, grid.column(target)
    steps = len(supports.orders[0])
    whole = [run for run, order in enumerate(supports.orders) if len(order) == steps and _used(secant, run)]
    ends = [supports.at(run, steps) for run in whole]
    points = torch.stack([supports.point(end) for end in ends])
    nearest = torch.cdist(gamma_SP, points).argmin(1)
    found = torch.zeros(len(gamma_SP), dtype=torch.float64)
    for place in nearest.unique().tolist():
        here, end = nearest == place, ends[place]
        delta = gamma_SP[here] - points[place]
        slope = column[0] + supports.paths[end].float() @ column[1:]
        value = float(grid.losses[end, target]) + (delta @ slope).double()
        if quadratic:
            along = (delta @ supports.directions[secant.used].T).double() @ secant.inverse
            value = value + 0.5 * (delta * (along.float() @ column[1:][secant.used])).sum(1).double()
        found[here] = value
    return found


def _used(secant: Secant, run: int) -> bool:
    """Whether the secant uses a reference run."""
    return secant.runs is None or run in secant.runs
