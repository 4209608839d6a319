"""Methods on devices: their tensors are where the model is, and DDP finds a gradient of each trained parameter.

A node moves the model before `prepare`. The meta device stands for a GPU: an operation between it and the CPU fails, as
one between GPU and CPU would.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl.data.batches import Batch
from cl.errors import UserError
from cl.methods.checks import check_devices
from cl.methods.method import Trains
from cl.methods.strategy import prepared
from cl.models.forward import TokenLoss
from strategies.adapters.lora import Lora
from tests.support.methods import part, step_of, training_methods
from tests.support.training import SEPARATOR, tiny, token_rows

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


@pytest.mark.parametrize("name", training_methods())
@pytest.mark.filterwarnings("ignore")
def test_a_micro_batch_reaches_every_trained_parameter_or_the_method_says_so(name: str) -> None:
    """Otherwise DDP ends with an error in the second step: it looks for such parameters only where a method says so."""
    method = part(name)
    try:
        check_devices([method], sharded=False)
    except UserError:
        return
    methods: list[Trains] = [Lora(life="stack"), method] if name in {*ADAPTERS, "inf_lora"} else [method]
    model = prepared(tiny(), methods, 1).train()
    TokenLoss(model, SEPARATOR, True).total(Batch(token_rows(1), None)).backward()
    without = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert method.skips_parameters or not without


def test_a_parameter_that_is_not_reached_is_seen() -> None:
    model = tiny()
    model.extra = torch.nn.Parameter(torch.ones(1))
    TokenLoss(model, SEPARATOR, True).total(Batch(token_rows(1), None)).backward()
    assert [key for key, value in model.named_parameters() if value.grad is None] == ["extra"]
