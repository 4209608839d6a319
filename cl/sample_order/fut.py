"""The published estimator of sample-order effects, FUT and FUT++ (arXiv 2505.22042), as far as it is known here.

    Gamma(theta, B) = m / (sqrt(v) + eps)                                       Adam's step on batch B
    FUT     Gamma(gamma_t, B) ~ Gamma(theta_t, B) + Gamma_g * H delta           delta = gamma_t - theta_t
    FUT++   ... + 1/2 (Gamma_gg * (H delta)^2 + Gamma_g * dH[delta, delta])

The paper itself was not read, only its abstract, summaries and public reviews. Our reading:

* The moments of a step are those of the reference run at that position, held fixed.
* Curvature is the element-wise quotient of successive differences (`secant`), or, as an upper bound, true
  Hessian-vector products (`exact`).
* No projection is applied.

So figures from this module measure our reading of the method; they are not the authors' results.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from cl.errors import UserError
from cl.sample_order.batch_gradients import Stream
from cl.sample_order.grid import Grid
from cl.sample_order.optimizer_replay import Update, step

TINY = 1e-12
Curvature = Callable[[int, int, Tensor], tuple[Tensor, Tensor]]
"""Maps a position, a batch and delta [P] to H delta and dH[delta, delta], [P] each."""


class Slopes(NamedTuple):
    """Adam's step as a function of its newest gradient, older moments fixed: value and two derivatives, [P] each."""

    value: Tensor
    first: Tensor
    second: Tensor


def slopes(g: Tensor, m: Tensor, v: Tensor, age: int, betas: tuple[float, float], eps: float) -> Slopes:
    """Adam's step Gamma(g) and its element-wise derivatives by g.

    Args:
        g: gradient of the step, [P].
        m: first moment before the step, [P].
        v: second moment before the step, [P].
        age: number of the step since the optimizer started, from 1.
        betas: decay rates of the moments.
        eps: Adam's epsilon.
    """
    beta1, beta2 = betas
    c1, c2 = 1 - beta1**age, 1 - beta2**age
    a, s = (beta1 * m + (1 - beta1) * g) / c1, ((beta2 * v + (1 - beta2) * g**2) / c2).sqrt().clamp(min=TINY)
    a1, s1 = (1 - beta1) / c1, (1 - beta2) * g / (c2 * s)
    s2 = (1 - beta2) / (c2 * s) - (1 - beta2) ** 2 * g**2 / (c2**2 * s**3)
    root = s + eps
    first = a1 / root - a * s1 / root**2
    second = -2 * a1 * s1 / root**2 - a * s2 / root**2 + 2 * a * s1**2 / root**3
    return Slopes(a / root, first, second)


def moments(grid: Grid, update: Update) -> list[tuple[Tensor, Tensor, int]]:
    """First and second moment before each step of the given order, and the step's number since the last restart.

    Raises:
        UserError: the optimizer is not AdamW.
    """
    if update.kind != "adamw":
        raise UserError(f"order.oracle: the published method is for AdamW, not {update.kind}")
    state, found = update.begin(grid.supports.start[None]), []
    for position, batch in enumerate(grid.supports.orders[0]):
        if update.restarts[position]:
            state.first.zero_(), state.second.zero_()
            state.age = 0
        found.append((state.first[0].clone(), state.second[0].clone(), state.age + 1))
        path = grid.supports.paths[grid.supports.at(0, position)]
        step(update, state, position, grid.gradients(torch.tensor([batch]), path[None]))
    return found


def estimate(
    grid: Grid,
    update: Update,
    order: tuple[int, ...],
    terms: Literal[0, 1, 2],
    curvature: Curvature,
    clamp: bool = False,
) -> Tensor:
    """Final parameters [P] of an order by FUT.

    Args:
        grid: gradients along the given order.
        update: the optimizer; AdamW.
        order: the order to estimate.
        terms: terms beyond the reference's own step: 0, 1 (FUT) or 2 (FUT++).
        curvature: source of H delta and dH[delta, delta].
        clamp: bound |H delta| by |g|; without the bound element-wise quotients explode. Our addition, not the paper's.
    """
    frozen, gamma = moments(grid, update), grid.supports.start.clone()
    for position, batch in enumerate(order):
        m, v, age = frozen[position]
        at = grid.supports.at(0, position)
        g = grid.gradients(torch.tensor([batch]), grid.supports.paths[at][None])[0]
        value, first, second = slopes(g, m, v, age, update.betas, update.eps)
        if terms:
            bent, third = curvature(position, batch, gamma - grid.supports.point(at))
            bent = bent.clamp(-g.abs(), g.abs()) if clamp else bent
            value = value + first * bent
            if terms == 2:
                value = value + 0.5 * (second * bent**2 + first * third)
        rate = update.rates[position] * update.factors
        gamma = gamma * (1 - rate * update.decay) - rate * value
    return gamma


def secant(grid: Grid) -> Curvature:
    """Element-wise quotients h = dg / dtheta along the given order, as appendix B.1 of the paper is summarised."""
    supports = grid.supports

    def quotient(position: int, batch: int) -> Tensor:
        if position == 0:
            return torch.zeros(supports.start.numel())
        k = supports.at(0, position) - 1
        moved = supports.directions[k]  # a unit vector, and columns are per unit length: lengths cancel
        return torch.where(moved.abs() > TINY, grid.column(batch)[1 + k] / moved, 0.0)

    def curvature(position: int, batch: int, delta: Tensor) -> tuple[Tensor, Tensor]:
        h = quotient(position, batch)
        if position < 2:
            return h * delta, torch.zeros_like(delta)
        k = supports.at(0, position) - 1
        moved = supports.directions[k] * float(supports.paths[k + 1, k])
        third = torch.where(moved.abs() > TINY, (h - quotient(position - 1, batch)) / moved, 0.0)
        return h * delta, third * delta**2

    return curvature


def exact(stream: Stream, grid: Grid, step_size: float = 1e-2) -> Curvature:
    """True Hessian-vector products, and their central difference along delta for the third derivative.

    Args:
        stream: the model.
        grid: support points of the given order.
        step_size: of the central difference, relative to delta.
    """

    def curvature(position: int, batch: int, delta: Tensor) -> tuple[Tensor, Tensor]:
        at = grid.supports.point(grid.supports.at(0, position))
        bent = stream.curvature(batch, at, delta)[1]
        ahead, behind = (stream.curvature(batch, at + sign * step_size * delta, delta)[1] for sign in (1, -1))
        return bent, (ahead - behind) / (2 * step_size)

    return curvature
