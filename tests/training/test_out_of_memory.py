"""Out of memory: micro-batches are halved, the stage goes on, and the change is told and recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cl.data.batches import Batch
from cl.errors import UserError
from cl.models.forward import TokenLoss
from cl.training.out_of_memory import fitting
from tests.support.training import execute, learn, plan, write_toy

CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to …")


def attempt(limit: int, error: Exception, batch: int, rows: int) -> tuple[list[int], list[str]]:
    tried: list[int] = []
    told: list[str] = []

    def train(size: int) -> int:
        tried.append(size)
        if size > limit:
            raise error
        return size

    assert fitting(train, batch, rows, told.append) == (tried[-1], tried[-1])
    return tried, told


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), CPU])
def test_micro_batches_are_halved_until_they_fit(error: Exception) -> None:
    tried, told = attempt(2, error, batch=8, rows=8)
    assert tried == [8, 4, 2]
    assert [text.split("of ")[-1].split(" rows")[0] for text in told] == ["4", "2"]


def test_the_next_size_divides_the_batch() -> None:
    assert attempt(3, MemoryError(), batch=12, rows=6)[0] == [6, 3]
    assert attempt(2, MemoryError(), batch=6, rows=6)[0] == [6, 3, 1]
    assert attempt(4, MemoryError(), batch=15, rows=15)[0] == [15, 5, 1]


def test_another_error_is_passed_on_and_one_row_is_the_least() -> None:
    with pytest.raises(RuntimeError, match="shapes"):
        attempt(2, RuntimeError("shapes do not match"), batch=8, rows=8)
    with pytest.raises(UserError, match=r"train\.micro_batch: one row needs more memory than there is; lower"):
        attempt(0, MemoryError(), batch=2, rows=2)


def test_a_stage_goes_on_and_equals_one_with_that_micro_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = learn(write_toy(tmp_path / "small", train={"micro_batch": 2}))[-1]
    inner, calls = TokenLoss.total, iter(range(10**6))

    def total(self: Any, batch: Batch) -> torch.Tensor:
        if torch.is_grad_enabled() and len(batch.ids) > 2 and next(calls) >= 3:  # in the middle of a stage
            raise torch.OutOfMemoryError("CUDA out of memory")
        return inner(self, batch)

    monkeypatch.setattr(TokenLoss, "total", total)
    folder = write_toy(tmp_path / "large", checkpoints={"steps": 2})
    graph, store = plan(folder)
    node = graph.runs[0].stages[-1].node
    execute(folder, node, store)
    assert json.loads((store.path(node) / "node.json").read_text())["result"]["micro_batch"] == 2
    found, wanted = (json.loads((path / "node.json").read_text())["result"] for path in (store.path(node), expected))
    assert "micro_batch" not in wanted
    assert found["points"][-1]["loss"] == pytest.approx(wanted["points"][-1]["loss"], rel=1e-3)
