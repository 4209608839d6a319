"""InfLoRA beside its authors' code: the A of each task, and the directions that are protected after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from peft import LoraConfig
from torch import Tensor, nn

from cl.data.batches import Batch
from cl.data.rows import IGNORE
from cl.methods.method import Learned
from cl.models import adapters
from strategies.adapters.inf_lora import InfLora
from strategies.adapters.input_subspaces import unpacked
from tests.support.methods import learned_of

Matrix = npt.NDArray[np.float64]
MODULE, WIDTH, RANK, TOKENS, TASKS = "base_model.model.linear", 12, 3, 30, 3
FIRST, LAST, STREAM = 0.9, 1.0, 5  # the code's `lamb`, `lame` and `total_sessions`


class Toy(nn.Module):
    """One linear map; each token id stands for a vector. Each task has tokens and main directions of its own."""

    def __init__(self) -> None:
        super().__init__()
        chance = torch.Generator().manual_seed(0)
        spread = torch.logspace(0.6, -0.6, WIDTH)
        mix = [torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=chance)).Q for _ in range(TASKS)]
        parts = [torch.randn(TOKENS, WIDTH, generator=chance) * spread @ q for q in mix]
        self.vectors = torch.cat(parts)
        self.linear = nn.Linear(WIDTH, 5, bias=False)

    def forward(self, ids: Tensor) -> Any:
        return self.linear(self.vectors[ids])


def tokens(t: int) -> Tensor:
    return torch.arange((t - 1) * TOKENS, t * TOKENS)


def stage(model: Any, t: int, memory: dict[str, Tensor]) -> Learned:
    """One row with all tokens of a task; every one of them is an input."""
    ids = torch.cat([tokens(t), torch.zeros(1, dtype=torch.int64)])[None]
    targets = torch.full((1, TOKENS), IGNORE)
    targets[0, -1] = 0
    outputs = lambda batch: model(batch.ids[:, :-1])  # noqa: E731
    return learned_of(model, [Batch(ids, targets)], t=t, memory=memory, outputs=outputs)


def prepared(method: InfLora, model: Any, t: int) -> Any:
    torch.manual_seed(t)
    fresh = adapters.add(model, f"t{t}", LoraConfig(r=RANK, lora_alpha=RANK, target_modules=["linear"]))
    return method.prepare(fresh, t)


class Protected:
    """The authors' state of one module: directions to `remove`, or, once those are most, the ones to `retain`."""

    def __init__(self, basis: Matrix, kind: str) -> None:
        self.basis, self.kind = basis, kind

    def free(self, matrix: Matrix) -> Matrix:
        """The part of a matrix that a new task may use."""
        inside = self.basis @ self.basis.T @ matrix
        return inside if self.kind == "retain" else matrix - inside

    def design(self, second: Matrix) -> Matrix:
        """A of the next task, [r, D]."""
        u = np.linalg.svd(self.free(second), full_matrices=False)[0]
        return np.asarray(u[:, :RANK].T / 3**0.5)

    def after(self, second: Matrix, threshold: float) -> Matrix:
        """Projector on the free directions after a further task."""
        total = float((np.linalg.svd(second)[1] ** 2).sum())
        u, s, _ = np.linalg.svd(self.free(second), full_matrices=False)
        left, more = float((s**2).sum()), 0
        for energy in s**2:  # until the share of what is free is at most 1 - threshold
            if 1 - left / total >= threshold:
                break
            left, more = left - float(energy), more + 1
        new = u[:, :more]
        everything = self.free(np.eye(WIDTH))
        return np.asarray(everything - new @ new.T @ everything)


def second_moment(t: int) -> Matrix:
    """Mean of x x^T over the tokens of a task, as the code's `cur_matrix`."""
    x = Toy().vectors[tokens(t)].double().numpy()
    return np.asarray(x.T @ x / TOKENS)


def threshold(t: int) -> float:
    return (LAST - FIRST) * (t - 1) / STREAM + FIRST


def our_free(memory: dict[str, Tensor]) -> Matrix:
    basis = unpacked(memory, MODULE, torch.empty(WIDTH, WIDTH, dtype=torch.float64)).numpy()
    return np.asarray(basis @ basis.T)


def official(memory: dict[str, Tensor], kind: str) -> Protected:
    """The authors' state that protects what our memory protects."""
    values, vectors = np.linalg.eigh(our_free(memory))
    return Protected(vectors[:, values < 0.5] if kind == "remove" else vectors[:, values > 0.5], kind)


def run() -> tuple[dict[int, Tensor], dict[int, dict[str, Tensor]]]:
    """Our A of each task, and our memory after it (after 0 tasks: none)."""
    model, memories, found = Toy(), {0: dict[str, Tensor]()}, {}
    method = InfLora(FIRST, rise=(LAST - FIRST) / STREAM)
    for t in range(1, TASKS + 1):
        model = prepared(method, model, t)
        method.survey(stage(model, t, memories[t - 1]))
        found[t] = adapters.low_rank(model, f"t{t}")[MODULE][0].detach().clone()
        memories[t] = method.consolidate(stage(model, t, memories[t - 1]))
    return found, memories


@pytest.mark.parametrize("kind", ["remove", "retain"])
def test_a_is_that_of_the_code(kind: str) -> None:
    """liangyanshuo/InfLoRA@e08b00e methods/inflora.py `_train`, models/vit_inflora.py `cur_matrix`: same but for the
    signs of rows, with both of its ways to project (`project_type`). Factor 1 / sqrt(3) included.
    """
    found, memories = run()
    nothing = Protected(np.zeros((WIDTH, 0)), "remove")
    for t in range(1, TASKS + 1):
        expected = (official(memories[t - 1], kind) if t > 1 else nothing).design(second_moment(t))
        signs = np.sign((expected * found[t].double().numpy()).sum(1, keepdims=True))
        np.testing.assert_allclose(found[t].numpy(), signs * expected, atol=2e-4)


@pytest.mark.parametrize("kind", ["remove", "retain"])
def test_the_protected_directions_of_later_tasks_are_those_of_the_code(kind: str) -> None:
    """liangyanshuo/InfLoRA@e08b00e methods/inflora.py, `update_DualGPM`, from the second task on: same span.

    Threshold (lame - lamb) * task / total_sessions + lamb, our epsilon + rise * (t - 1); energies are S^2 of x x^T.
    """
    _, memories = run()
    ranks = [round(float(np.trace(our_free(memory)))) for memory in memories.values()]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == TASKS + 1  # every task protects more
    for t in range(2, TASKS + 1):
        expected = official(memories[t - 1], kind).after(second_moment(t), threshold(t))
        np.testing.assert_allclose(our_free(memories[t]), expected, atol=2e-4)


def test_after_the_first_task_the_code_protects_one_direction_less() -> None:
    """liangyanshuo/InfLoRA@e08b00e methods/inflora.py, `update_DualGPM`, first task: r counts the directions whose
    cumulated share stays below the threshold, at least 1. Ours reaches the threshold: one direction more if r > 0.
    """
    _, memories = run()
    u, s, _ = np.linalg.svd(second_moment(1))
    r = int((np.cumsum(s**2 / (s**2).sum()) < threshold(1)).sum())
    assert r > 0
    for count, same in ((r, False), (r + 1, True)):
        free = np.eye(WIDTH) - u[:, :count] @ u[:, :count].T
        assert np.allclose(our_free(memories[1]), free, atol=2e-4) == same
