"""The optimizer along an order: torch's own, restarts, groups, and what the positions of a short run weigh."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from cl.errors import UserError
from cl.sample_order.optimizer_replay import Update, position_weights, simulate, step
from tests.support.sample_order import Quadratic

STEPS = 7


def torch_run(
    optimizer_of: Any, gradients: torch.Tensor, rates: list[float], clip: float
) -> tuple[torch.Tensor, Update]:
    """Parameters after torch's own optimizer, with two groups of unlike decay, and the update it is described by."""
    torch.manual_seed(0)
    first, second = nn.Parameter(torch.randn(2, 2)), nn.Parameter(torch.randn(3))
    groups = [{"params": [second], "weight_decay": 0.0}, {"params": [first], "weight_decay": 0.1}]  # in another order
    optimizer = optimizer_of(groups)
    update = Update.of(optimizer, [first, second], rates, [True, *[False] * (STEPS - 1)], clip)
    start = torch.cat([first.detach().reshape(-1), second.detach()])
    for rate, gradient in zip(rates, gradients, strict=True):
        first.grad, second.grad = gradient[:4].view(2, 2).clone(), gradient[4:].clone()
        nn.utils.clip_grad_norm_([first, second], clip)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    end = torch.cat([first.detach().reshape(-1), second.detach()])
    found = simulate(start, torch.arange(STEPS)[None], update, lambda position, b, theta: gradients[b].clone())
    assert torch.allclose(found.theta[0], end, atol=1e-6)
    return end, update


@pytest.mark.parametrize("clip", [math.inf, 0.5])
@pytest.mark.parametrize(
    "optimizer_of",
    [
        lambda groups: torch.optim.AdamW(groups, lr=0.1, betas=(0.8, 0.95), eps=1e-6),
        lambda groups: torch.optim.Adam(groups, lr=0.1),
        lambda groups: torch.optim.SGD(groups, lr=0.1, momentum=0.9),
        lambda groups: torch.optim.SGD(groups, lr=0.1),
    ],
)
def test_an_update_is_torchs_own(optimizer_of: Any, clip: float) -> None:
    gradients = torch.randn(STEPS, 7, generator=torch.Generator().manual_seed(1))
    torch_run(optimizer_of, gradients, [0.1 * (i + 1) for i in range(STEPS)], clip)


def test_a_restart_is_a_fresh_optimizer() -> None:
    of = Quadratic()
    whole = of.update("adamw", 0.1)
    cut = Update("adamw", whole.rates, (True, False, True, False, False), whole.decay, whole.factors)
    order = torch.tensor([[0, 1, 2, 3, 4]])
    at_cut = []
    found = simulate(of.start, order, cut, of.gradient, lambda position, x: at_cut.append(x[0].clone()))
    state = whole.begin(at_cut[2][None])
    for position, batch in ((0, 2), (1, 3), (2, 4)):
        step(whole, state, position, of.gradient(0, torch.tensor([batch]), state.theta))
    assert torch.equal(found.theta, state.theta)
    assert not torch.allclose(found.theta, simulate(of.start, order, whole, of.gradient).theta)


@pytest.mark.parametrize(
    ("optimizer_of", "message"),
    [
        (lambda p: torch.optim.Adagrad([p]), "Adagrad is not known; train with AdamW"),
        (lambda p: torch.optim.Adam([p], amsgrad=True), "Adam with amsgrad"),
        (lambda p: torch.optim.SGD([p], lr=0.1, momentum=0.9, nesterov=True), "SGD with nesterov"),
    ],
)
def test_an_unknown_update_is_refused(optimizer_of: Any, message: str) -> None:
    p = nn.Parameter(torch.zeros(2))
    with pytest.raises(UserError, match=message):
        Update.of(optimizer_of(p), [p], [0.1], [True], 1.0)


def test_weights_of_positions_by_hand() -> None:
    of = Quadratic(batches=2)
    weights = position_weights(of.update("adamw", 0.1, betas=(0.5, 0.9)))
    # position 0: (1 - b)(1/(1 - b) + b/(1 - b^2)) = 1 + 1/3; position 1: (1 - b)/(1 - b^2) = 2/3
    assert weights == pytest.approx([4 / 3, 2 / 3])
    assert position_weights(of.update("sgd", 0.1, momentum=0.5)) == pytest.approx([1.5, 1.0])


def test_the_specification_s_weights_of_sixteen_positions() -> None:
    weights = position_weights(Quadratic(batches=16).update("adamw", 3e-4))
    assert [round(weights[i], 2) for i in (0, 1, 8, 14, 15)] == [2.81, 2.01, 0.81, 0.24, 0.12]


def test_sgd_differs_by_the_bracket_where_two_batches_change_places() -> None:
    of, rate = Quadratic(batches=2), 1e-2
    ends = simulate(of.start, torch.tensor([[0, 1], [1, 0]]), of.update("sgd", rate), of.gradient).theta
    g = of.gradient(0, torch.tensor([0, 1]), of.start.expand(2, -1))
    bracket = rate**2 * (of.a[1] @ g[0] - of.a[0] @ g[1])
    assert torch.allclose(ends[0] - ends[1], bracket, atol=5e-7)


def test_orders_differ_in_second_order_under_sgd_and_in_first_under_adam() -> None:
    of, orders = Quadratic(), torch.tensor([[0, 1, 2, 3, 4], [4, 3, 2, 1, 0]])

    def distance(kind: str, rate: float) -> float:
        ends = simulate(
            of.start.double(), orders, of.update(kind, rate), lambda p, b, x: of.gradient(p, b, x.float()).double()
        ).theta
        return float((ends[0] - ends[1]).norm())

    assert distance("sgd", 1e-2) / distance("sgd", 5e-3) == pytest.approx(4, rel=0.05)
    assert distance("adamw", 1e-3) / distance("adamw", 5e-4) == pytest.approx(2, rel=0.05)
