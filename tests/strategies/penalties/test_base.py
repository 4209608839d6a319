"""The quadratic pull to earlier optima, and importance as a mean over rows."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cl.methods.method import Learned
from strategies.penalties.base import mean_over_rows, quadratic
from tests.support.methods import learned_of


def test_penalty_by_hand() -> None:
    theta, anchor = torch.tensor([1.0, 4.0], requires_grad=True), torch.tensor([3.0, 3.0])
    value = quadratic(theta, anchor, torch.tensor([2.0, 10.0]))
    assert float(value.detach()) == 18.0  # 2 * 4 + 10 * 1; EWC takes half of it
    assert torch.autograd.grad(value, theta)[0].tolist() == [-8.0, 20.0]  # 2 F (theta - theta*)


class Two(nn.Module):
    """Two parameters; a "row" x has the loss w0 x + w1 x^2, so its gradient is (x, x^2)."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 1.0]))


def learned(model: Any, rows: list[float], memory: dict[str, torch.Tensor] | None = None, t: int = 1) -> Learned:
    return learned_of(model, rows, t=t, memory=memory, loss=lambda x: model.w[0] * x + model.w[1] * x**2)


def test_importance_is_a_mean_of_sizes() -> None:
    model = Two()
    of = learned(model, [1.0, -3.0])
    found = mean_over_rows(of, 0, of.loss, torch.Tensor.abs, dict(model.named_parameters()))
    assert found["w"].tolist() == [2.0, 5.0]


def test_a_neighbour_of_the_optimum_is_free_where_nothing_mattered() -> None:
    assert float(quadratic(torch.tensor([9.0]), torch.tensor([0.0]), torch.tensor([0.0]))) == 0.0
