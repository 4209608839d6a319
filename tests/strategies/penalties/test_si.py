"""SI: the path integral and the importance by hand, on a quadratic whose minimum is known."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from cl.errors import UserError
from cl.methods.method import Learned
from strategies.penalties.si import SI, path_importance
from tests.support.methods import learned_of, step_of
from tests.support.training import tiny


class Point(nn.Module):
    """Two parameters, of which the loss w0^2 sees only the first."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([4.0, 1.0]))


def descend(model: Any, method: SI, rates: list[float], drift: float = 0.0) -> None:
    """Gradient descent on w0^2 and the method's penalty; the second parameter drifts by itself."""
    for rate in rates:
        model.zero_grad()
        (model.w[0] ** 2 + 0 * model.w[1]).backward()
        for term in method.step_terms(step_of(model)).values():
            term.backward()
        method.after_backward(step_of(model))
        model.w.data -= rate * model.w.grad
        model.w.data[1] += drift


def learned(model: Any, method: SI, memory: dict[str, torch.Tensor] | None = None, t: int = 1) -> Learned:
    return learned_of(model, t=t, tensors=method.state_dict(), memory=memory)


def test_importance_by_hand() -> None:
    found = path_importance(torch.tensor([6.0, -6.0, 0.0]), torch.tensor([2.0, 2.0, 0.0]), 2.0)
    assert found.tolist() == [1.0, 0.0, 0.0]  # 6 / (4 + 2); a rise of the loss is not importance; nothing moved


def test_path_by_hand() -> None:
    method, model = SI(damping=1.0), Point()
    method.prepare(model, 1)
    descend(model, method, [0.25, 0.25], drift=0.5)
    # w0: 4 -> 2 -> 1, gradients 8 and 4: 8 * 2 + 4 * 1 = 20; moved by 3: 20 / (9 + 1). w1 drifts without a gradient.
    memory = method.consolidate(learned(model, method))
    assert memory["importance.all/w"].tolist() == [2.0, 0.0]
    assert memory["optimum.all/w"].tolist() == [1.0, 2.0]


def test_small_steps_add_up_to_the_fall_of_the_loss() -> None:
    method, model = SI(damping=1e-9), Point()
    method.prepare(model, 1)
    descend(model, method, [1e-3] * 2000)
    moved = 4.0 - float(model.w[0].detach())
    fall = 16.0 - float(model.w[0].detach()) ** 2
    found = float(method.consolidate(learned(model, method))["importance.all/w"][0])
    assert found == pytest.approx(fall / moved**2, rel=2e-3)


def test_the_path_is_that_of_the_task_without_our_own_pull() -> None:
    memory = {"importance.all/w": torch.tensor([5.0, 5.0]), "optimum.all/w": torch.tensor([9.0, 9.0])}
    method, model = SI(weight=0.1), Point()
    method.remember(memory)
    method.prepare(model, 2)
    descend(model, method, [0.01])
    assert method.state_dict()["gradient/w"].tolist() == pytest.approx([8.0, 0.0])  # d w0^2 = 2 * 4, and no pull to 9


def test_importance_adds_up_over_tasks() -> None:
    method, model = SI(damping=1.0), Point()
    method.prepare(model, 1)
    descend(model, method, [0.25])
    first = method.consolidate(learned(model, method))
    again = SI(damping=1.0)
    again.remember(first)
    again.prepare(model, 2)
    descend(model, again, [0.0])
    second = again.consolidate(learned(model, again, first, t=2))
    assert second["importance.all/w"].tolist() == first["importance.all/w"].tolist()  # nothing moved


def test_a_resumed_path_goes_on() -> None:
    whole, resumed = SI(), SI()
    one, two = Point(), Point()
    whole.prepare(one, 1)
    descend(one, whole, [0.1, 0.1, 0.1])
    first = SI()
    first.prepare(two, 1)
    descend(two, first, [0.1])
    resumed.prepare(two, 1)
    resumed.load_state_dict(first.state_dict())
    descend(two, resumed, [0.1, 0.1])
    assert resumed.state_dict().keys() == whole.state_dict().keys()
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value)


def test_settings() -> None:
    assert SI().active(1)
    assert not SI(weight=0.0).active(1)
    with pytest.raises(UserError, match="damping: 0 must be above 0"):
        SI(damping=0)
    with pytest.raises(UserError, match="si: recorded no path"):
        SI().consolidate(learned_of(Point()))


def test_its_state_is_where_the_model_is() -> None:
    """The node moves the model before `prepare`: on a GPU, a path on the CPU would fail in the second step."""
    model = tiny().to("meta")
    method = SI()
    method.prepare(model, 1)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    method.after_backward(step_of(model))
    method.after_backward(step_of(model))
    assert {value.device.type for value in method.state_dict().values()} == {"meta"}
