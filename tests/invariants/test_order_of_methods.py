"""The order in which a strategy lists two methods changes nothing about the start of a stage, or one refuses the other.

Methods that decide what is trained (adapters, factors) prepare first wherever they stand, because others read the
trained parameters: the teacher of LwF must not hold an adapter that was added after it looked.
"""

from __future__ import annotations

import copy
from itertools import combinations
from typing import Any

import pytest
import torch

from cl.errors import UserError
from cl.methods.checks import check_trained
from cl.methods.strategy import prepared
from strategies.adapters.lora import Lora
from strategies.distillation.lwf import LwF
from tests.support.methods import part, training_methods
from tests.support.training import tiny


@pytest.fixture(scope="module")
def model() -> Any:
    return tiny()


def start(model: Any, names: tuple[str, ...]) -> dict[str, torch.Tensor]:
    """Values of all parameters, what is trained of them, and the methods' states after `prepare` of a second stage."""
    torch.manual_seed(0)
    methods = [part(name) for name in names]
    made = prepared(copy.deepcopy(model), methods, 2)
    found = {name: value.detach() for name, value in made.named_parameters()}
    found |= {f"trained {name}": torch.tensor(value.requires_grad) for name, value in made.named_parameters()}
    for name, method in zip(names, methods, strict=True):
        found |= {f"state of {name}: {key}": value for key, value in method.state_dict().items()}
    return found


@pytest.mark.slow
@pytest.mark.parametrize("pair", [*combinations(training_methods(), 2)], ids="-".join)
def test_two_methods_start_a_stage_alike_in_both_orders(pair: tuple[str, str], model: Any) -> None:
    parts = [part(name) for name in pair]
    try:
        check_trained(parts)
        for one, other in (parts, parts[::-1]):
            one.validate([other])
    except UserError:
        return
    outcomes: list[Any] = []
    for order in (pair, pair[::-1]):
        try:
            outcomes.append(start(model, order))
        except UserError as error:
            outcomes.append(str(error))
    one, other = outcomes
    if isinstance(one, str) or isinstance(other, str):
        assert isinstance(one, str) and isinstance(other, str), (one, other)  # noqa: PT018
        return
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


def test_a_teacher_that_is_listed_before_a_stacked_adapter_is_the_older_model(model: Any) -> None:
    first = Lora(life="stack", r=2).prepare(copy.deepcopy(model), 1)
    lora, teacher = Lora(life="stack", r=2), LwF()
    made = prepared(first, [teacher, lora], 2)
    assert teacher.old.keys() == {name for name, value in made.named_parameters() if value.requires_grad}
    assert all(".t2." in name for name in teacher.old)
    assert all(not value.any() for name, value in teacher.old.items() if "lora_B" in name)  # adds nothing yet
