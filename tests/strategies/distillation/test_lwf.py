"""LwF: the divergence is torch's; here who the teacher is, and when there is none."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cl.data.batches import Batch
from cl.errors import UserError
from cl.methods.method import MicroBatch
from cl.models.losses import Outputs
from strategies.distillation.lwf import LwF
from tests.support.methods import token_terms


class Logits(nn.Module):
    """One token whose logits are the parameter."""

    def __init__(self, *values: float) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.tensor([list(values)]))


def seen(model: Any) -> MicroBatch:
    target = torch.tensor([0])
    batch = Batch(torch.zeros(1, 2, dtype=torch.int64), None)
    return MicroBatch(model, batch, 0, Outputs(model.z, None, target), lambda old: Outputs(old["z"], None, target))


def test_by_hand() -> None:
    model = Logits(1.0986122886681098, 0.0)  # p = (3/4, 1/4)
    method = LwF(weight=2.0, temperature=1.0)
    method.prepare(model, 2)
    assert token_terms(method, seen(model))["lwf"] == pytest.approx(0.0, abs=1e-7)
    model.z.data.zero_()  # q = (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2)
    expected = 2.0 * (0.75 * 0.4054651081 - 0.25 * 0.6931471806)
    assert token_terms(method, seen(model))["lwf"] == pytest.approx(expected, rel=1e-6)


def test_the_teacher_goes_through_the_state() -> None:
    model, method, other = Logits(1.0, 0.0), LwF(), LwF()
    method.prepare(model, 2)
    model.z.data.zero_()
    other.prepare(model, 2)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.old["z"], torch.tensor([[1.0, 0.0]]))


def test_neutral_is_not_there_at_all() -> None:
    assert not LwF(weight=0.0).active(2)
    assert LwF(weight=0.0).validate([])
    assert not LwF().active(1)


@pytest.mark.parametrize("settings", [{"weight": -1.0}, {"temperature": 0.0}])
def test_meaningless_settings_are_refused(settings: Any) -> None:
    with pytest.raises(UserError, match="must be at least 0"):
        LwF(**settings)
