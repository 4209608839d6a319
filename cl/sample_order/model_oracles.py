"""Oracles that query the model along each order: two upper bounds, and a corrected grid estimate.

    hvp_grid     g_b(theta_t) + H_b(theta_t)(gamma_t - theta_t)      theta_t: the given order at the same position
    hvp_single   g_b(theta_0) + H_b(theta_0)(gamma_t - theta_0)
    replay       g~_b(gamma_t) + [ ghat_b(gamma_t) - ghat~_b(gamma_t) ]    ghat: of the first rows of the batch alone

A Hessian-vector product costs about three gradients, so `hvp_grid` and `hvp_single` cost more than retraining: they
show how good a first-order estimate can be. `replay` uses the grid's estimate as a control variate: the grid's error on
a part of the batch corrects its error on the whole batch. It costs that part of a retraining for each order, and the
grid must hold columns of the parts. Derived in this project, not published.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cl.sample_order.batch_gradients import Stream
from cl.sample_order.grid import Grid
from cl.sample_order.grid_oracles import Choice
from cl.sample_order.optimizer_replay import Gradient


def curvature(stream: Stream, grid: Grid, single: bool) -> Gradient:
    """The oracle `hvp_grid`, or `hvp_single` if `single`.

    Args:
        stream: the model.
        grid: support points of the given order.
        single: expand around the start instead of the given order's point at the same position.
    """

    def gradient(position: int, batches_S: Tensor, gamma_SP: Tensor) -> Tensor:
        at = grid.supports.point(0 if single else grid.supports.at(0, position))
        pairs = zip(batches_S.tolist(), gamma_SP, strict=True)
        return torch.stack([torch.add(*stream.curvature(batch, at, gamma - at)) for batch, gamma in pairs])

    return gradient


def replay(stream: Stream, grid: Grid, rows: int, choose: Choice) -> Gradient:
    """The oracle `replay`.

    Args:
        stream: the model.
        grid: a grid with columns of the parts of batches.
        rows: rows of each batch whose true gradient is computed.
        choose: coefficients of any grid oracle, whose estimate is corrected.
    """

    def gradient(position: int, batches_S: Tensor, gamma_SP: Tensor) -> Tensor:
        coefficients = choose(position, gamma_SP)
        pairs = zip(batches_S.tolist(), gamma_SP, strict=True)
        part = torch.stack([stream.gradient(batch, gamma, rows)[1] for batch, gamma in pairs])
        whole = grid.gradients(batches_S, coefficients)
        return whole + part - grid.gradients(batches_S + grid.parts, coefficients)

    return gradient
