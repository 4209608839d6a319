"""EWC: penalty and Fisher diagonal by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cl.errors import UserError
from cl.methods.method import Learned
from strategies.penalties.ewc import EWC
from tests.support.methods import learned_of, step_of


class Two(nn.Module):
    """Two parameters; a "row" x has the loss w0 x + w1 x^2, so its gradient is (x, x^2)."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([1.0, 1.0]))


def learned(model: Any, rows: list[float], memory: dict[str, torch.Tensor] | None = None, t: int = 1) -> Learned:
    return learned_of(model, rows, t=t, memory=memory, loss=lambda x: model.w[0] * x + model.w[1] * x**2)


def test_fisher_is_a_mean_over_rows_not_the_square_of_a_mean() -> None:
    rows, model = [1.0, -1.0, 2.0], Two()
    found = EWC(examples=0).importance(learned(model, rows), dict(model.named_parameters()))
    assert found["w"].tolist() == [2.0, 6.0]  # (1 + 1 + 4) / 3, (1 + 1 + 16) / 3
    first = EWC(examples=2).importance(learned(model, rows), dict(model.named_parameters()))
    assert first["w"].tolist() == [1.0, 1.0]


def test_online_memory_adds_up_and_keeps_the_newest_optimum() -> None:
    method, model = EWC(gamma=0.5), Two()
    before = method.consolidate(learned(model, [1.0]))
    model.w.data += 1
    after = method.consolidate(learned(model, [2.0], before, t=2))
    assert after["importance.all/w"].tolist() == [4.5, 16.5]  # 0.5 * (1, 1) + (4, 16)
    assert after["optimum.all/w"].tolist() == [2.0, 2.0]


def test_offline_memory_keeps_every_task() -> None:
    method, model = EWC(weight=2.0, mode="offline"), Two()
    before = method.consolidate(learned(model, [1.0]))
    model.w.data += 1
    after = method.consolidate(learned(model, [2.0], before, t=2))
    assert sorted(after) == ["importance.1/w", "importance.2/w", "optimum.1/w", "optimum.2/w"]
    method.remember(after)
    method.prepare(model, 3)
    model.w.data += 1  # 2 above the first optimum, 1 above the second: (1 * 4 + 1 * 4)/2 + (4 + 16)/2 = 14
    assert float(method.step_terms(step_of(model))["ewc"].detach()) == 28.0


def test_parameters_that_do_not_live_on_are_refused() -> None:
    method, model = EWC(), Two()
    method.remember(method.consolidate(learned(model, [1.0])))
    other = nn.Module()
    other.v = nn.Parameter(torch.zeros(2))
    with pytest.raises(UserError, match="ewc: trains other parameters than the task before; use full fine-tuning"):
        method.prepare(other, 2)


def test_neutral_is_not_there_at_all() -> None:
    assert not EWC(weight=0.0).active(2)
    assert EWC(weight=0.0).validate([])
    assert not EWC().active(1)


@pytest.mark.parametrize("settings", [{"weight": -1.0}, {"gamma": 1.5}, {"examples": -1}])
def test_meaningless_settings_are_refused(settings: Any) -> None:
    with pytest.raises(UserError, match="must be at least 0"):
        EWC(**settings)
