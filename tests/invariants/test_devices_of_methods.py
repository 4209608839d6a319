"""Methods keep their tensors where the model is: a node moves the model before `prepare`.

The meta device stands for a GPU: an operation between it and the CPU fails, as one between GPU and CPU would.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl.methods.method import Trains
from cl.methods.strategy import prepared
from strategies.adapters.lora import Lora
from tests.support.methods import part, step_of, training_methods
from tests.support.training import tiny

NUMBERS = {"osf", "inf_lora"}
"""Decompose weights in `prepare`, which needs numbers, and meta tensors have none."""
ADAPTERS = {"o_lora", "n_lora", "reglora"}
"""Read the adapters of `lora`, which stands beside them."""


@pytest.mark.parametrize("name", [name for name in training_methods() if name not in NUMBERS])
@pytest.mark.filterwarnings("ignore")
def test_two_steps_of_a_method_stay_on_the_model_s_device(name: str) -> None:
    method = part(name)
    methods: list[Trains] = [Lora(life="stack"), method] if name in ADAPTERS else [method]
    model: Any = tiny().to("meta")
    model = prepared(model, methods, 1)
    for _ in range(2):
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        at = step_of(model)
        for each in methods:
            for value in each.step_terms(at).values():
                assert value.device.type == "meta"
            each.after_backward(at)
            each.after_step(at)
    tensors = {key: value for each in methods for key, value in each.state_dict().items()}
    assert {value.device.type for value in tensors.values()} <= {"meta"}
