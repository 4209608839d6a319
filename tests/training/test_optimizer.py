"""AdamW: which parameters decay, and at which learning rate."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cl.config.train import Train
from cl.training.optimizer import build_optimizer
from strategies.adapters.lora import Lora
from tests.support.training import tiny


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_weight_decay_on_matrices_only(name: str) -> None:
    model = tiny(name)
    before = {key: value.clone() for key, value in model.named_parameters()}
    optimizer = build_optimizer(model, Train(lr=0.1, weight_decay=0.5))
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for key, value in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if value.ndim >= 2 else 1.0
        torch.testing.assert_close(value, before[key] * factor, msg=key)


def test_a_step_equals_the_equation_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 2.0)
    optimizer = build_optimizer(model, Train(lr=0.1, weight_decay=0.5, betas=(0.9, 0.95), eps=1e-8))
    model.weight.grad = torch.full_like(model.weight, 3.0)
    optimizer.step()
    # decoupled decay: 2 - 0.1 * 0.5 * 2 = 1.9; the first bias-corrected step is lr * sign(gradient)
    assert model.weight.item() == pytest.approx(1.9 - 0.1, abs=1e-6)


def test_a_parameter_can_have_its_own_learning_rate() -> None:
    model = nn.Linear(2, 2)
    model.bias.lr_factor = 10.0  # type: ignore[attr-defined]
    factors = {
        id(p): group["lr_factor"] for group in build_optimizer(model, Train()).param_groups for p in group["params"]
    }
    assert factors == {id(model.weight): 1.0, id(model.bias): 10.0}


def test_a_method_decides_on_the_decay_of_its_parameters() -> None:
    adapted = Lora(weight_decay=0.02).prepare(tiny(), 1)
    decays = {
        group["weight_decay"]
        for group in build_optimizer(adapted, Train(weight_decay=0.1)).param_groups
        if group["params"]
    }
    assert decays == {0.02}
    assert {p.weight_decay for p in Lora().prepare(tiny(), 1).parameters() if p.requires_grad} == {0.0}
