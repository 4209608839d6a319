"""Oracles on losses whose gradients are known: exact where they must be, and what each leaves out."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from cl.errors import UserError
from cl.sample_order import grid as grids
from cl.sample_order.grid import Grid, Supports
from cl.sample_order.grid_oracles import OfGrid, Secant, choice
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


@pytest.mark.parametrize(("kind", "rate"), [("sgd", 0.05), ("adamw", 0.05)])
def test_the_secant_is_exact_where_the_supports_span_the_space(kind: str, rate: float) -> None:
    of = Quadratic()
    update = of.update(kind, rate)
    grid = of.grid(update, [GIVEN, REVERSED])  # ten displacements in four dimensions
    assert error(of, update, secant(grid, ridge=1e-9), OTHERS) < 1e-3


@pytest.mark.parametrize("ridge", [1e-2, 1e-4])
def test_every_reference_order_is_exact_at_its_own_anchors(ridge: float) -> None:
    of = Quadratic(size=40)
    update = of.update("adamw", 0.02)
    references = [GIVEN, REVERSED, OTHERS[0]]
    grid = of.grid(update, references)
    for order in references:
        found = simulate(of.start, torch.tensor([order]), update, secant(grid, ridge=ridge)).theta
        true = ends(of, update, [order])
        assert torch.allclose(found, true, atol=2e-5)


def test_more_references_and_stars_leave_less_outside_and_less_error() -> None:
    of = Quadratic(size=40)
    update = of.update("adamw", 0.02)
    residuals, errors = [], []
    stars = [of.star(batch, update) for batch in range(5)]
    for traces in ([GIVEN], [GIVEN, REVERSED], [GIVEN, REVERSED, "stars"]):
        supports = Supports.of(
            [trace for each in traces for trace in (stars if each == "stars" else [of.trace(each, update)])]
        )
        points = torch.stack([supports.point(i) for i in range(len(supports.places))])
        raw = torch.stack([of.gradient(0, torch.full((len(points),), b), points) for b in range(5)]).numpy()
        grids.differences(raw, supports)
        chosen = Secant(supports)
        found = OfGrid(Grid(supports, raw, np.zeros((len(points), 5)), 5, 0), lambda p, x, c=chosen: c(x))  # type: ignore[misc]
        errors.append(error(of, update, found, OTHERS))
        residuals.append(float(torch.stack(chosen.residuals).amax(0).mean()))
    assert residuals == sorted(residuals, reverse=True)
    assert errors == sorted(errors, reverse=True)


def test_identical_batches_make_every_order_one() -> None:
    of = Quadratic(same=True)
    update = of.update("adamw", 0.05)
    grid = of.grid(update, [GIVEN])
    found = simulate(of.start, torch.tensor(OTHERS), update, secant(grid)).theta
    assert torch.allclose(found, ends(of, update, [GIVEN]).expand(3, -1), atol=2e-5)


@pytest.mark.parametrize("name", ["reuse", "grid0", "setadd"])
def test_oracles_of_positions_are_exact_on_the_given_order(name: str) -> None:
    of = Quadratic(size=10)
    update = of.update("sgd", 0.05)
    grid = of.grid(update, [GIVEN, REVERSED])
    orders = torch.tensor([GIVEN])
    found = simulate(of.start, orders, update, OfGrid(grid, choice(name, grid.supports, orders, update))).theta
    assert torch.allclose(found, ends(of, update, [GIVEN]), atol=1e-5)


def test_what_each_oracle_of_positions_says_by_hand() -> None:
    of = Quadratic(batches=3, size=2)
    update = of.update("sgd", 0.1)
    grid = of.grid(update, [(0, 1, 2)])
    orders = torch.tensor([[2, 0, 1]])
    points = [grid.supports.point(i) for i in range(4)]
    truth = lambda batch, at: of.gradient(0, torch.tensor([batch]), at[None])[0]  # noqa: E731

    def said(name: str, position: int, batch: int) -> torch.Tensor:
        chosen = choice(name, grid.supports, orders, update)
        return grid.gradients(torch.tensor([batch]), chosen(position, of.start[None]))[0]

    assert torch.allclose(said("reuse", 1, 0), truth(0, points[0]), atol=1e-6)  # batch 0 was at position 0
    assert torch.allclose(said("grid0", 1, 0), truth(0, points[1]), atol=1e-6)
    # batch 2 came before: its step's change of batch 0's gradient, seen between positions 2 and 3
    added = truth(0, points[0]) + truth(0, points[3]) - truth(0, points[2])
    assert torch.allclose(said("setadd", 1, 0), added, atol=1e-6)


def test_a_stride_is_refused_where_every_step_is_needed() -> None:
    of = Quadratic()
    update = of.update("sgd", 0.05)
    supports = Supports.of([of.trace(GIVEN, update).strided(2)])
    with pytest.raises(UserError, match=r"order\.stride to 1"):
        choice("grid0", supports, torch.tensor([GIVEN]), update)
    assert [position for _, position in supports.places] == [0, 2, 4, 5]
