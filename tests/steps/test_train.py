"""The train node: precision, repeatability, and where a method starts a stage."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.instruction import write_stream
from tests.support.training import (
    Anchor,
    dropout_model,
    eventful,
    learn,
    run,
    start,
    weights,
    write_toy,
)

pytestmark = [pytest.mark.filterwarnings(f"ignore:{name}") for name in ("reglora", "inf_lora")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "label", ["reglora", "o_lora", "lora_lwf", "lora_der", "lora_agem", "seq_star", "prompt_tuning", "moe_lora", "osf"]
)
def test_mixed_precision_is_for_the_model_and_not_for_penalties(label: str, tmp_path: Path) -> None:
    for state in learn(write_stream(tmp_path, strategies={label: None}, train={"precision": "bf16"}, examples=16)):
        points = json.loads((state / "node.json").read_text())["result"]["points"]
        assert len(points) > 1
        assert all(point["grad_norm"] for point in points[1:])


@pytest.fixture(scope="module")
def model(tmp_path_factory: Any) -> Path:
    """A model directory with dropout, so that every random number counts."""
    return dropout_model(tmp_path_factory.mktemp("model"))


@pytest.mark.slow
def test_compiled_training_on_two_threads_gives_the_same_bits_each_time(tmp_path: Path) -> None:
    """Threads that add gradients of one token's embedding in any order would not."""
    found = []
    for name in ("one", "two"):
        folder = write_toy(tmp_path / name, train={"compile": True, "batch": 16, "sequence": 64}, tokens=16 * 64 * 24)
        done = start(folder, "--tracking.uri=none", "--upto=1", OMP_NUM_THREADS="2")
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(weights(folder))
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_method_starts_a_stage_from_what_its_parent_stage_left(tmp_path: Path, model: Path, monkeypatch: Any) -> None:
    prepared: list[tuple[float, float]] = []
    inner = Anchor.prepare

    def prepare(self: Anchor, module: Any, t: int) -> Any:
        inner(self, module, t)
        moved = sum(float((value - self.start[name]).abs().sum()) for name, value in module.named_parameters())
        prepared.append((moved, sum(float(value.sum()) for value in self.importance.values())))
        return module

    monkeypatch.setattr(Anchor, "prepare", prepare)
    run(eventful(tmp_path, model))
    assert [moved for moved, _ in prepared] == [0.0, 0.0]  # anchored at the start of its own stage
    assert prepared[0][1] == 0.0
    assert prepared[1][1] > 0.0  # and remembers what mattered before
