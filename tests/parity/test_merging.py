"""TIES, MagMax, task arithmetic and EMA beside the formulas of their authors' code, of peft and of timm."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from strategies.merging.ema import EMA
from strategies.merging.magmax import MagMax
from strategies.merging.task_arithmetic import TaskArithmetic
from strategies.merging.ties import TIES

Vector = dict[str, Tensor]
SHAPES = {"a": (9, 4), "b": (7,), "c": (3, 5, 2)}


def vectors(tasks: int, seed: int = 0) -> list[Vector]:
    """Task vectors of several tensors, of unlike sizes."""
    chance = torch.Generator().manual_seed(seed)
    scales = dict(zip(SHAPES, (1.0, 3.0, 0.4), strict=True))
    draw = lambda name: scales[name] * torch.randn(SHAPES[name], generator=chance)  # noqa: E731
    return [{name: draw(name) for name in SHAPES} for _ in range(tasks)]


def flat(vector: Vector) -> Tensor:
    """One vector, by sorted names."""
    return torch.cat([vector[name].flatten() for name in sorted(vector)])


def authors_ties(stacked: Tensor, keep: float) -> Tensor:
    """TIES of [T, N]: trim by the kth smallest size, elect by mass, mean of what agrees; zero signs by majority."""
    bound = stacked.abs().sort(1).values[:, stacked.shape[1] - int(stacked.shape[1] * keep) - 1]
    kept = torch.where(stacked.abs() >= bound[:, None], stacked, 0.0)
    elected = kept.sum(0).sign()
    elected = torch.where(elected == 0, elected.sum().sign(), elected)
    chosen = torch.where(elected > 0, kept.clamp(min=0), kept.clamp(max=0))
    return chosen.sum(0) / (chosen != 0).sum(0).clamp(min=1)


@pytest.mark.parametrize("keep", [0.2, 0.45])
def test_ties_is_the_authors_at_a_share_that_keeps_one_entry_more(keep: float) -> None:
    """prateeky2806/ties-merging@44e7891 src/utils/merge_utils.py, `merge_methods` (topk, mass, dis-mean): same, if our
    `keep` counts one entry more: the code keeps int(keep x N) + 1. Added to the base model with `scale` by both.
    """
    tasks = vectors(4)
    stacked = torch.stack([flat(vector) for vector in tasks])
    size = stacked.shape[1]
    more = (int(size * keep) + 1.001) / size
    official = authors_ties(stacked, keep)
    torch.testing.assert_close(flat(TIES(keep=more, scale=0.7).merge(tasks)), 0.7 * official)
    plain = flat(TIES(keep=keep, scale=0.7).merge(tasks))
    assert not torch.allclose(plain, 0.7 * official)
    assert int((plain != 0.7 * official).sum()) <= 2 * len(tasks)


def test_where_entries_cancel_the_authors_elect_the_majority_s_sign_and_ours_is_0() -> None:
    """prateeky2806/ties-merging@44e7891 src/utils/merge_utils.py, `resolve_zero_signs`: their mean of the entries with
    the sign that most entries have; ours 0.
    """
    tasks = [{"a": torch.tensor([2.0, 3.0, 4.0, 1.0])}, {"a": torch.tensor([-2.0, 5.0, 1.0, 2.0])}]
    official = authors_ties(torch.stack([flat(vector) for vector in tasks]), 0.99)
    assert official.tolist() == [2.0, 4.0, 2.5, 1.5]
    assert TIES(keep=1.0).merge(tasks)["a"].tolist() == [0.0, 4.0, 2.5, 1.5]


def peft_ties(stacked: Tensor, density: float) -> Tensor:
    """peft's: exactly int(density N) entries of each; the sign is + where the sum is at least 0."""
    parts = []
    for vector in stacked.flatten(1):
        order = vector.abs().argsort(descending=True)[: int(density * len(vector))]
        parts.append(torch.zeros_like(vector).index_copy(0, order, vector[order]))
    kept = torch.stack(parts)
    agree = kept.sign() == torch.where(kept.sum(0) >= 0, 1.0, -1.0)
    return ((kept * agree).sum(0) / agree.sum(0).clamp(min=1)).view(stacked.shape[1:])


@pytest.mark.parametrize("density", [0.3, 0.8])
def test_ties_by_tensor_is_peft_s(density: float) -> None:
    """huggingface/peft@5d602fd src/peft/utils/merge_utils.py, `ties` with weights 1, majority sign `total`: same.

    Where entries cancel exactly, peft takes the positive ones, ours is 0. Also equal to the installed peft's.
    """
    from peft.utils.merge_utils import ties

    tasks = vectors(3, seed=1)
    found = TIES(keep=density, trim="tensor", scale=1.0).merge(tasks)
    for name in SHAPES:
        each = [vector[name] for vector in tasks]
        torch.testing.assert_close(found[name], peft_ties(torch.stack(each), density))
        torch.testing.assert_close(found[name], ties(each, torch.ones(3), density))
    cancelling = torch.tensor([[2.0, 1.0], [-2.0, 1.0]])
    assert peft_ties(cancelling, 1.0).tolist() == [2.0, 1.0]
    assert TIES(keep=1.0, trim="tensor").merge([{"a": row} for row in cancelling])["a"].tolist() == [0.0, 1.0]


def test_magmax_is_the_authors() -> None:
    """danielm1405/magmax@4f49f18 src/merging/task_vectors.py `merge_max_abs`, merge_splitted.py (0.5): same, also where
    sizes are equal: the later task wins.
    """
    tasks = vectors(4, seed=2)
    tasks[2]["b"] = -tasks[0]["b"]
    found = MagMax(scale=0.5).merge(tasks)
    for name in SHAPES:
        largest = tasks[0][name]
        for vector in tasks[1:]:
            largest = torch.where(vector[name].abs() >= largest.abs(), vector[name], largest)
        torch.testing.assert_close(found[name], 0.5 * largest)


def test_task_arithmetic_is_the_authors_where_all_have_a_parameter() -> None:
    """mlfoundations/task_vectors@826a64c src/task_vectors.py, `__add__` and `apply_to`: the scaled sum, same.

    A parameter that one vector lacks leaves their sum; with ours it counts as 0 there.
    """
    tasks = vectors(3, seed=3)
    del tasks[1]["b"]
    found = TaskArithmetic(scale=0.4).merge(tasks)
    total = tasks[0]
    for other in tasks[1:]:
        total = {name: total[name] + other[name] for name in total if name in other}
    assert set(total) == {"a", "c"}
    for name, value in total.items():
        torch.testing.assert_close(found[name], 0.4 * value)
    torch.testing.assert_close(found["b"], 0.4 * (tasks[0]["b"] + tasks[2]["b"]))


def mean_teacher(states: list[Tensor], alpha: float) -> Tensor:
    """The running average after an update per state; the average starts anywhere, since its first alpha is 0."""
    average = torch.full_like(states[0], 1e3)
    for step, state in enumerate(states):
        now = min(1 - 1 / (step + 1), alpha)
        average = average * now + (1 - now) * state
    return average


@pytest.mark.parametrize(("beta", "same"), [(0.3, True), (0.5, True), (0.9, False)])
def test_the_average_is_mean_teacher_s_but_for_its_ramp(beta: float, same: bool) -> None:
    """CuriousAI/mean-teacher@546348f pytorch/main.py, `update_ema_variables`: alpha = min(1 - 1 / (step + 1), decay).

    Counted from 0 at the first state, its ramp binds for decays above 1/2 only; up to there ours is the same. Same as
    huggingface/pytorch-image-models@aa4b585 timm/utils/model_ema.py, `ModelEmaV2`, for every decay: it has no ramp.
    """
    chance = torch.Generator().manual_seed(4)
    base, *states = torch.randn(6, 10, generator=chance)
    found = base + EMA(beta).merge([{"a": state - base} for state in states])["a"]
    official = mean_teacher(list(states), beta)
    assert torch.allclose(found, official, atol=1e-5) == same
    plain = states[0]  # timm
    for state in states[1:]:
        plain = beta * plain + (1 - beta) * state
    torch.testing.assert_close(found, plain)
