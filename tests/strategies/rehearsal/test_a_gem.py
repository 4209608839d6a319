"""A-GEM: the projection by hand, and that only conflicts are projected."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cl.data.batches import Batch
from strategies.rehearsal.a_gem import AGEM, project
from tests.support.methods import step_of


def test_by_hand() -> None:
    # g = (1, -3), g_ref = (0, 2): g . g_ref = -6, |g_ref|^2 = 4, g + 1.5 g_ref = (1, 0)
    assert project(torch.tensor([1.0, -3.0]), torch.tensor([0.0, 2.0])).tolist() == [1.0, 0.0]
    assert project(torch.tensor([1.0, 3.0]), torch.tensor([0.0, 2.0])).tolist() == [1.0, 3.0]
    assert project(torch.tensor([1.0, 3.0]), torch.zeros(2)).tolist() == [1.0, 3.0]


def test_after_it_the_reference_loss_does_not_rise() -> None:
    chance = torch.Generator().manual_seed(0)
    for _ in range(20):
        gradient, reference = torch.randn(2, 50, generator=chance)
        assert float(project(gradient, reference) @ reference) >= -1e-4


class Two(nn.Module):
    """Two parameters as two tensors: a projection of each by itself would be another."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([1.0]))


ROWS = Batch(torch.zeros(2, 3, dtype=torch.int64), None, torch.tensor([[0, 4], [1, 9]]))


def test_all_parameters_are_one_gradient() -> None:
    model = Two()
    model.a.grad, model.b.grad = torch.tensor([1.0]), torch.tensor([-3.0])
    # the loss of the taken rows has the gradient (2, 2) over 4 tokens; (1, -3) loses its part along (1, 1): (2, -2)
    loss: Any = lambda batch: 2 * model.a[0] + 2 * model.b[0]  # noqa: E731
    AGEM().after_backward(step_of(model, taken=ROWS, loss=loss))
    assert [float(model.a.grad), float(model.b.grad)] == [2.0, -2.0]


def test_a_parameter_that_the_reference_does_not_touch_keeps_its_gradient() -> None:
    model = Two()
    model.a.grad, model.b.grad = torch.tensor([5.0]), torch.tensor([-3.0])
    loss: Any = lambda batch: 4 * model.b[0]  # noqa: E731
    AGEM().after_backward(step_of(model, taken=ROWS, loss=loss))
    assert [float(model.a.grad), float(model.b.grad)] == [5.0, 0.0]


def test_a_step_that_replays_nothing_is_left_alone() -> None:
    model = Two()
    model.a.grad = torch.tensor([1.0])
    AGEM().after_backward(step_of(model))
    assert float(model.a.grad) == 1.0


def test_a_step_of_replayed_rows_alone_projects_nothing() -> None:
    model = torch.nn.Linear(1, 1)
    AGEM().after_backward(step_of(model, Batch(torch.zeros(1, 3, dtype=torch.int64), None)))
    assert model.weight.grad is None
