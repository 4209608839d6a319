"""The reverse of the table of edits: no step executes a definition of ours that its key does not cover."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest

from cl.execution import runner
from cl.graph.kinds import KINDS
from cl.sample_order import plan as orders
from tests.support import executed
from tests.support.instruction import write_stream
from tests.support.mixture import DPO, MIXTURE, SFT, aligned
from tests.support.order_command import toy as order_toy
from tests.support.teaching import with_mode
from tests.support.training import Silent, plan, write_strategy, write_toy

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings(r"ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:The given NumPy array is not writable"),
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"),
]


def text(folder: Path) -> Path:
    """Replay, a penalty with a memory, its state inside the stage, and merging."""
    strategies = {"rewarm_replay": None, "penalised": None, "merged": None}
    write_toy(folder, strategies=strategies, checkpoints={"steps": 3}, evaluation={"points": 2, "share": 0.9})
    write_strategy(folder, "penalised", ["rewarm_cosine", "ewc", "si", "lwf"])
    write_strategy(folder, "merged", ["rewarm_cosine", {"lora": {"life": "merge"}}, "ties"])
    return folder


def instructions(folder: Path) -> Path:
    """Answers, a classifier, a probe, adapters of each task."""
    strategies = {"lora_alone": None, "reglora": None, "seq_star": None}
    return write_stream(folder, strategies=strategies, probes={"linear": {"items": 6}})


def alignment(folder: Path) -> Path:
    """A mixture, selection, instructions and preferences."""
    return aligned(folder, MIXTURE, SFT, DPO)


def teachers(folder: Path) -> Path:
    """Stored predictions, and a second model."""
    return with_mode(folder, "cache_top_k", "cache_hidden", "frozen_copy")


STREAMS: dict[str, Callable[[Path], Path]] = {
    "text": text,
    "instructions": instructions,
    "alignment": alignment,
    "teachers": teachers,
}
REACHED: set[str] = set()


@pytest.mark.parametrize("name", STREAMS)
def test_a_step_executes_nothing_that_its_key_does_not_cover(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = STREAMS[name](tmp_path)
    graph, store = plan(folder)
    todo = runner.pending(graph.wanted, store)
    executed.note(todo)
    with contextlib.chdir(folder), executed.traced(monkeypatch) as outside:
        runner.run(todo, store, Silent())
    REACHED.update(outside)
    assert outside
    assert {kind: found for kind, found in outside.items() if found} == {}


def test_neither_do_the_steps_of_sample_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = order_toy(tmp_path)
    graph, store = plan(folder)
    (ordering,) = orders.build(graph)
    asked = ordering.asked("validate", ordering.held_out(), ceilings=False)
    todo = runner.pending([asked], store)
    executed.note(todo)
    with contextlib.chdir(folder), executed.traced(monkeypatch) as outside:
        runner.run(todo, store, Silent())
    REACHED.update(outside)
    assert {"trace", "grid", "order"} <= set(outside)
    assert {kind: found for kind, found in outside.items() if found} == {}


def test_every_kind_was_reached() -> None:
    assert set(KINDS) - REACHED <= {"gate"}  # which no strategy plans yet: tests/steps/test_gate.py
