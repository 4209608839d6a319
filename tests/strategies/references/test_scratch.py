"""Scratch: every task from the base model, and nothing carried along."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.methods.method import Stage
from strategies.references.scratch import Scratch
from strategies.schedules.infinite import InfCosine
from tests.support.instruction import write_stream
from tests.support.training import results as result
from tests.support.training import run

pytestmark = pytest.mark.filterwarnings("ignore:reglora")


@pytest.mark.slow
def test_tasks_trained_apart_have_nothing_to_hold(tmp_path: Path) -> None:
    folder = write_stream(tmp_path)
    (folder / "strategies").mkdir()
    lines = {"held": "lora: {life: continue}}, ewc, si, mas", "stacked": "lora: {life: stack}}, reglora, o_lora"}
    for name, methods in lines.items():
        text = f"{{summary: s, paper: p, keeps: k, methods: [scratch, {{{methods}]}}"
        (folder / "strategies" / f"{name}.yaml").write_text(text)
    run(folder, "--strategies={held: null, stacked: null}")
    for each in result(folder)["runs"]:
        assert all(not point["terms"] for stage in each["stages"] for point in stage["points"])


STREAM = [
    Stage("a", {"a": 1.0}, 1, 3000, None, 1),
    Stage("b", {"b": 1.0}, 2, 1000, 0, 2),
    Stage("c", {"c": 0.5, "a": 0.5}, 3, 1000, 1, 3),
]


def test_scratch_starts_every_task_from_the_base_model() -> None:
    found = Scratch().stages(STREAM)
    assert [stage.parent for stage in found] == [None] * 3
    assert [stage.row for stage in found] == [1, 2, 3]
    assert found[0] == STREAM[0]  # the first task is the stream's own


def test_scratch_leaves_a_fork_with_its_trunk() -> None:
    found = Scratch().stages(InfCosine().stages(STREAM))
    assert [stage.parent for stage in found] == [None, 0, None, 2, None, 4]
