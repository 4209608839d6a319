"""The published estimator beside the secant."""

from __future__ import annotations

import torch

from cl.sample_order import fut
from cl.sample_order.grid import Grid
from cl.sample_order.grid_oracles import OfGrid, Secant
from cl.sample_order.optimizer_replay import Update, simulate
from tests.support.sample_order import Quadratic, ends

GIVEN, REVERSED = (0, 1, 2, 3, 4), (4, 3, 2, 1, 0)
OTHERS = [(2, 0, 4, 1, 3), (1, 3, 0, 4, 2), (3, 4, 1, 0, 2)]


def error(of: Quadratic, update: Update, oracle: object, orders: list[tuple[int, ...]]) -> float:
    """Of the ends, relative to how far they are from the given order's."""
    found = simulate(of.start, torch.tensor(orders), update, oracle).theta
    true, given = ends(of, update, orders), ends(of, update, [GIVEN])
    return float(((found - true).norm(dim=1) / (given - true).norm(dim=1).clamp(min=1e-9)).mean())


def secant(grid: Grid, **settings: object) -> OfGrid:
    chosen = Secant(grid.supports, **settings)
    return OfGrid(grid, lambda position, gamma: chosen(gamma))


def test_frozen_moments_are_wrong_at_any_rate_and_the_secant_less_and_less() -> None:
    of = Quadratic(size=40)
    found = {}
    for rate in (1e-2, 1e-4):
        update = of.update("adamw", rate)
        grid = of.grid(update, [GIVEN, REVERSED])
        given = ends(of, update, [GIVEN])[0]
        true = ends(of, update, OTHERS)
        frozen = torch.stack([fut.estimate(grid, update, order, 0, fut.secant(grid)) for order in OTHERS])
        found[rate] = (
            float(((frozen - true).norm(dim=1) / (given - true).norm(dim=1)).mean()),
            error(of, update, secant(grid), OTHERS),
        )
    assert found[1e-2][0] > 0.5
    assert found[1e-4][0] > 0.5
    assert found[1e-4][1] < 0.1 * found[1e-2][1] < 0.1
