"""AdamW of bf16 parameters: rounding at random by hand, small updates that are not lost, and moments in fp32."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cl.config.train import Optimization
from cl.training.optimizer import Composed, build_optimizer
from cl.training.stochastic_rounding import StochasticAdamW, rounded


def test_a_value_between_two_neighbours_becomes_each_as_often_as_it_is_near() -> None:
    torch.manual_seed(0)
    values = torch.full((40_000,), 1 + 0.25 / 128)  # the neighbours of 1 are 1/128 apart
    found = rounded(values).float()
    assert set(found.unique().tolist()) == {1.0, 1 + 1 / 128}
    assert (found > 1).float().mean().item() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 2.0**-126])
def test_a_bf16_value_stays(value: float) -> None:
    assert (rounded(torch.full((1_000,), value)).float() == value).all()


def test_negative_values_have_the_exact_mean_too() -> None:
    torch.manual_seed(0)
    assert rounded(torch.full((40_000,), -0.3)).float().mean().item() == pytest.approx(-0.3, abs=1e-4)


def test_many_small_updates_add_up() -> None:
    torch.manual_seed(0)
    model = nn.Linear(64, 64, bias=False).bfloat16()
    nn.init.constant_(model.weight, 1.0)
    optimizer = build_optimizer(model, Optimization(lr=1e-4, weight_decay=0.0))
    for _ in range(100):
        model.weight.grad = torch.ones_like(model.weight)
        optimizer.step()
    # Each step takes 1e-4 away, where bf16 below 1 has steps of 1/256: rounded to the nearest, nothing would move.
    assert model.weight.float().mean().item() == pytest.approx(1 - 100 * 1e-4, abs=5e-4)


def test_it_is_adamw_but_for_the_rounding() -> None:
    found = []
    for kind in (torch.float32, torch.bfloat16):
        torch.manual_seed(0)
        model = nn.Linear(32, 32, bias=False)
        nn.init.normal_(model.weight)
        model.weight.data = model.weight.data.bfloat16().to(kind)
        optimizer = build_optimizer(model, Optimization(lr=0.02, weight_decay=0.1))
        for step in range(10):
            model.weight.grad = torch.full_like(model.weight, 0.5 if step % 3 else -2.0)
            optimizer.step()
        found.append(model.weight.detach().float())
    assert (found[0] - found[1]).abs().mean() < 0.02
    assert (found[0] - found[1]).mean().abs() < 0.001


def test_only_bf16_is_rounded_and_moments_are_fp32() -> None:
    model = nn.Sequential(nn.Linear(4, 4).bfloat16(), nn.Linear(4, 4))
    optimizer = build_optimizer(model, Optimization())
    assert isinstance(optimizer, Composed)
    assert isinstance(optimizer.parts[1], StochasticAdamW)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert {values["exp_avg"].dtype for values in optimizer.state.values()} == {torch.float32}
    assert [len(group["params"]) for group in optimizer.parts[1].param_groups] == [1, 1]
