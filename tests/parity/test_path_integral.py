"""SI beside the formulas of its authors (pathint), of A-GEM's authors, of Mammoth and of Avalanche, on one path."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from strategies.penalties.si import SI
from tests.support.methods import learned_of, step_of

SIZE, DAMPING, STRENGTH = 6, 0.05, 0.4


class Point(nn.Module):
    """A parameter vector."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.linspace(-3, 3, SIZE))


class Move(NamedTuple):
    """One optimizer step: gradient of the task alone, gradient with the penalty, parameters before and after."""

    task: Tensor
    whole: Tensor
    before: Tensor
    after: Tensor


class Stage(NamedTuple):
    moves: list[Move]
    start: Tensor
    end: Tensor
    importance: Tensor

    @property
    def path(self) -> Tensor:
        """sum of g (theta before - theta after), g of the task alone."""
        return torch.stack([move.task * (move.before - move.after) for move in self.moves]).sum(0)

    @property
    def ratio(self) -> Tensor:
        return self.path / ((self.end - self.start) ** 2 + DAMPING)


def task_gradient(w: Tensor, t: int, step: int) -> Tensor:
    """Of a quadratic, with the noise of a mini-batch."""
    goal = torch.randn(SIZE, generator=torch.Generator().manual_seed(t))
    return 0.3 * (w - 2 * goal) + 0.1 * torch.randn(SIZE, generator=torch.Generator().manual_seed(100 * t + step))


def run() -> tuple[SI, Point, list[Stage]]:
    """Two tasks by SGD under our SI, and the memory for a third loaded; the weight decay moves some entries uphill."""
    model, memory, stages = Point(), {}, []
    for t in (1, 2):
        method = SI(weight=STRENGTH, damping=DAMPING)
        method.remember(memory)
        method.prepare(model, t)
        moves, start = descend(model, method, t), method.state["start/w"].clone()
        memory = method.consolidate(learned_of(model, t=t, tensors=method.state_dict(), memory=memory))
        stages.append(Stage(moves, start, model.w.detach().clone(), memory["importance.all/w"]))
    method = SI(weight=STRENGTH, damping=DAMPING)
    method.remember(memory)
    method.prepare(model, 3)
    model.w.data += 0.1
    return method, model, stages


def descend(model: Point, method: SI, t: int) -> list[Move]:
    moves, optimizer = [], torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1.0)
    for step in range(12):
        optimizer.zero_grad()
        task = task_gradient(model.w.detach(), t, step)
        model.w.grad = task.clone()
        for value in method.step_terms(step_of(model)).values():
            value.backward()
        assert model.w.grad is not None
        whole, before = model.w.grad.clone(), model.w.detach().clone()
        method.after_backward(step_of(model))
        optimizer.step()
        moves.append(Move(task, whole, before, model.w.detach().clone()))
    return moves


def test_the_trajectory_has_uphill_coordinates_and_a_penalty() -> None:
    _, _, (first, second) = run()
    assert [bool((stage.ratio < 0).any()) for stage in (first, second)] == [True, True]
    assert all(not torch.equal(move.task, move.whole) for move in second.moves[1:])


def test_importance_is_that_of_a_gem_s_authors() -> None:
    """facebookresearch/agem@4542149 model/model.py, `create_pathint_ops`: same, max(0, .) task by task, then a sum."""
    _, _, stages = run()
    big = torch.zeros(SIZE)
    for stage in stages:
        small = torch.zeros(SIZE)
        for move in stage.moves:
            small = small - move.task * (move.after - move.before)
        big = big + torch.relu(small / (DAMPING + (stage.end - stage.start) ** 2))
        torch.testing.assert_close(stage.importance, big)


def test_the_si_authors_take_the_maximum_of_the_running_sum() -> None:
    """ganguli-lab/pathint@86c5e07 pathint/protocols.py, `PATH_INT_PROTOCOL` with `omega_decay` 'sum', as its notebooks
    use it: Omega <- max(0, Omega + ratio), ours Omega + max(0, ratio).

    The same after the first task; later theirs is smaller where a task's ratio is negative.
    """
    _, _, (first, second) = run()
    theirs = torch.relu(torch.zeros(SIZE) + first.ratio)
    torch.testing.assert_close(first.importance, theirs)
    theirs = torch.relu(theirs + second.ratio)
    uphill = second.ratio < 0
    torch.testing.assert_close(second.importance[~uphill], theirs[~uphill])
    assert bool((second.importance >= theirs - 1e-6).all())
    assert bool((second.importance[uphill] > theirs[uphill]).any())
    lost = torch.minimum(-second.ratio[uphill], first.importance[uphill])
    torch.testing.assert_close(second.importance[uphill] - theirs[uphill], lost)


def test_mammoth_has_no_maximum() -> None:
    """aimagelab/mammoth@e75a491 models/si.py, `observe` and `end_task`: the sum of the raw ratios (xi = damping).

    Ours is the sum of their positive parts. Mammoth also clips each gradient entry to 1 before the step.
    """
    _, _, stages = run()
    big = torch.zeros(SIZE)
    for stage in stages:
        small = torch.zeros(SIZE)
        for move in stage.moves:
            small += move.task * (move.before - move.after)
        big += small / ((stage.end - stage.start) ** 2 + DAMPING)
    positive = torch.stack([stage.ratio.clamp(min=0) for stage in stages]).sum(0)
    torch.testing.assert_close(stages[-1].importance, positive)
    negative = torch.stack([stage.ratio.clamp(max=0) for stage in stages]).sum(0)
    torch.testing.assert_close(big, stages[-1].importance + negative)


def test_avalanche_caps_importance_and_has_no_maximum() -> None:
    """ContinualAI/avalanche@eb075be avalanche/training/plugins/synaptic_intelligence.py, `post_update` and
    `update_ewc_data` (eps = damping): equal in the first task where the ratio is between 0 and its cap of 0.001.

    Later tasks differ: its gradient holds the penalty's, ours does not.
    """
    cap = 0.001
    _, _, (first, second) = run()
    trajectory = torch.stack([move.whole * (move.after - move.before) for move in first.moves]).sum(0)
    importance = (-(trajectory / ((first.end - first.start) ** 2 + DAMPING))).clamp(max=cap)
    torch.testing.assert_close(importance.clamp(min=0), first.importance.clamp(max=cap))
    assert float(importance.min()) < 0
    later = -torch.stack([move.whole * (move.after - move.before) for move in second.moves]).sum(0)
    pulls = torch.stack([(move.whole - move.task) * (move.before - move.after) for move in second.moves]).sum(0)
    torch.testing.assert_close(later - pulls, second.path)
    assert float(pulls.abs().max()) > 1e-3


@pytest.mark.parametrize(("name", "factor"), [("mammoth", 1.0), ("pathint", 1.0), ("avalanche", 2.0)])
def test_the_penalty_has_mammoth_s_and_the_authors_factor_and_twice_avalanche_s(name: str, factor: float) -> None:
    """aimagelab/mammoth@e75a491 models/si.py `get_penalty_grads`, ganguli-lab/pathint@86c5e07 pathint/regularizers.py
    `quadratic_regularizer`, ContinualAI/avalanche@eb075be synaptic_intelligence.py `compute_ewc_loss` (lambda / 2).
    """
    method, model, stages = run()
    omega, gap = stages[-1].importance, model.w - stages[-1].end
    gradients: dict[str, Any] = {
        "mammoth": STRENGTH * 2 * omega * gap.detach(),
        "pathint": torch.autograd.grad(STRENGTH * (omega * gap**2).sum(), model.w, retain_graph=True)[0],
        "avalanche": torch.autograd.grad((omega @ gap**2) * (STRENGTH / 2), model.w)[0],
    }
    found = torch.autograd.grad(method.step_terms(step_of(model))["si"], model.w)[0]
    torch.testing.assert_close(found, factor * gradients[name])
