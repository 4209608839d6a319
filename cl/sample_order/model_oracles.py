"""Oracles that ask the model along each order: ceilings of what can be known, and a cheap one that is corrected.

    hvp_grid     g_b(theta_t) + H_b(theta_t)(gamma_t - theta_t)      theta_t: the given order at the same position
    hvp_single   g_b(theta_0) + H_b(theta_0)(gamma_t - theta_0)
    replay       g~_b(gamma_t) + [ ghat_b(gamma_t) - ghat~_b(gamma_t) ]    ghat: of the first rows of the batch alone

A Hessian-vector product costs about three gradients, so the first two cost more than retraining: they show what the
first order is good for. `replay` takes the grid's estimate as a control variate: what the grid gets wrong of a part of
the batch is taken for what it gets wrong of the whole. It costs that part of a retraining for each order, and wants the
part's own columns in the grid. Derived.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cl.sample_order.batch_gradients import Stream
from cl.sample_order.grid import Grid
from cl.sample_order.grid_oracles import Choice
from cl.sample_order.optimizer_replay import Gradient


def curvature(stream: Stream, grid: Grid, single: bool) -> Gradient:
    """The oracle `hvp_grid`, or `hvp_single`."""

    def gradient(position: int, batches_S: Tensor, gamma_SP: Tensor) -> Tensor:
        at = grid.supports.point(0 if single else grid.supports.at(0, position))
        pairs = zip(batches_S.tolist(), gamma_SP, strict=True)
        return torch.stack([torch.add(*stream.curvature(batch, at, gamma - at)) for batch, gamma in pairs])

    return gradient


def replay(stream: Stream, grid: Grid, rows: int, choose: Choice) -> Gradient:
    """The oracle `replay` on so many rows of each batch; choose: the grid's coefficients, as of any of its oracles."""

    def gradient(position: int, batches_S: Tensor, gamma_SP: Tensor) -> Tensor:
        coefficients = choose(position, gamma_SP)
        pairs = zip(batches_S.tolist(), gamma_SP, strict=True)
        part = torch.stack([stream.gradient(batch, gamma, rows)[1] for batch, gamma in pairs])
        whole = grid.gradients(batches_S, coefficients)
        return whole + part - grid.gradients(batches_S + grid.parts, coefficients)

    return gradient
