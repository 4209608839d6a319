"""Executing a graph: parents first, what is stored is left out, and failures keep what was finished."""

from __future__ import annotations

import errno
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cl.config import loading
from cl.errors import IncompleteError, UserError
from cl.execution import runner
from cl.execution.store import Store
from cl.graph import planner
from cl.graph.kinds import Kind
from cl.graph.node import Node
from cl.graph.planner import Graph
from cl.graph.roles import TOKENIZER, Inputs
from cl.graph.specs import Spec
from cl.metrics.records import Point
from cl.steps.context import Context
from tests.support.nodes import local_of


class Log:
    """A listener that writes down what it is told."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.points: dict[str, list[Point]] = {}

    def waiting(self, node: Node) -> None:
        self.lines.append(f"waiting {node.name}")

    def found(self, node: Node) -> None:
        self.lines.append(f"found {node.name}")

    def started(self, node: Node) -> None:
        self.lines.append(f"started {node.name}")

    def progress(self, node: Node, done: int, total: int) -> None:
        assert 0 <= done <= total

    def point(self, node: Node, point: Point) -> None:
        self.points.setdefault(node.name, []).append(point)

    def note(self, node: Node, text: str) -> None:
        self.lines.append(f"{node.name}: {text}")

    def finished(self, node: Node, seconds: float) -> None:
        self.lines.append(f"finished {node.name}")


def planned(*overrides: str) -> Graph:
    return planner.build(loading.load("toy.yaml", list(overrides)))


def fake(monkeypatch: pytest.MonkeyPatch, computed: list[Node], **trained: Any) -> None:
    """Execute nodes by writing them down. trained: result of train nodes; error: what they raise."""

    def compute(node: Node, store: Store, work: Path, listener: Any) -> dict[str, Any]:
        for parent in node.parents.values():
            assert store.path(parent).is_dir()
        if node.kind == "train" and "error" in trained:
            raise trained["error"]
        for name in node.needs:
            (work / "out" / name).write_text("state")
        computed.append(node)
        return trained if node.kind == "train" else {}

    monkeypatch.setattr(runner, "compute", compute)


def names(nodes: list[Node]) -> list[str]:
    return [f"{node.kind} {node.name}" for node in nodes]


def wanted(found: Graph) -> list[Node]:
    return [node for run in found.runs for node in (*(s.node for s in run.stages), *run.rows.values())]


FIRST = ["tokenizer tokenizer trained on english + german", "base llama-tiny", "data english", "data german"]


def test_pending_lists_parents_first_and_each_node_once(toy: Path) -> None:
    found = planned("--strategies={rewarm: , rewarm_replay: }")
    assert names(runner.pending(wanted(found), Store("store"))) == [
        *FIRST,
        "train english",
        "train german",
        "evaluate row 0 after llama-tiny",
        "evaluate row 1 after english",
        "evaluate row 2 after german",
        "train german",
        "evaluate row 2 after german",
    ]


def test_pending_leaves_out_what_only_led_to_stored_nodes(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, [])
    found, store = planned(), Store("store")
    english, german = (stage.node for stage in found.runs[0].stages)
    runner.run(runner.pending([english], store), store, Log())
    for node in (found.base, found.data["english"]):
        store.fs.rm(str(store.path(node)), recursive=True)
    # German's text is read to train it; the base model and English text led to a state that is stored.
    assert names(runner.pending([german], store)) == ["data english", "train german"]
    assert names(runner.pending([english], store)) == []
    assert found.data["english"].key in {node.key for node in german.uses.values()}


@pytest.mark.slow
def test_a_node_is_executed_again_for_what_a_new_child_needs_of_it(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[Node] = []
    fake(monkeypatch, computed)
    store = Store("store")
    runner.run(runner.pending(wanted(planned("--strategies={rewarm: }")), store), store, Log())
    computed.clear()
    both = wanted(planned("--strategies={rewarm: , rewarm_keep: }"))
    runner.run(runner.pending(both, store), store, Log())
    assert names(computed) == ["train english", "train german", "evaluate row 2 after german"]
    assert local_of(computed[0]).keep_optimizer is True
    assert runner.pending(both, store) == []


def test_a_step_is_given_what_the_node_names(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Spec, Inputs, Context]] = []

    def run(spec: Spec, inputs: Inputs, context: Context) -> dict[str, Any]:
        asked.append((spec, inputs, context))
        context.watcher.progress(1, 2)
        return {"answer": 42}

    monkeypatch.setattr(Kind, "module", lambda self: SimpleNamespace(run=run))
    found, store, log = planned(), Store("store"), Log()
    english = found.runs[0].stages[0].node
    runner.run(runner.pending([english], store), store, log)
    assert store.result(english)["answer"] == 42
    (spec, inputs, context) = asked[-1]
    assert spec is english.spec
    assert dict(inputs) == {role: store.path(parent) for role, parent in english.parents.items()}
    assert inputs[TOKENIZER].is_dir()
    assert (context.out, context.local) == (context.work / "out", english.local)
    assert context.uses == {name: store.path(node) for name, node in found.data.items()}


def test_nodes_are_announced_and_finished_ones_survive_a_failure(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, [], error=OSError("the disk is full"))
    found, store, log = planned(), Store("store"), Log()
    german = found.runs[0].stages[1].node
    with pytest.raises(OSError, match="the disk is full"):
        runner.run(runner.pending([german], store), store, log)
    assert log.lines[-3:] == ["started german", "finished german", "started english"]
    assert store.has(found.data["german"])
    assert not store.has(german)


def test_what_another_process_finished_is_skipped(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[Node] = []
    fake(monkeypatch, computed)
    store, log = Store("store"), Log()
    todo = runner.pending([planned().base], store)
    runner.run(todo, store, log)
    runner.run(todo, store, log)
    assert len(computed) == len(todo) == 2
    assert log.lines.count("started llama-tiny") == log.lines.count("found llama-tiny") == 1


def test_training_that_diverges_is_told(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, [], points=[{"loss": float("nan")}])
    store = Store("store")
    english = planned().runs[0].stages[0].node
    with pytest.raises(UserError, match="train english: diverged: a score is not finite"):
        runner.run(runner.pending([english], store), store, Log())
    assert not store.has(english)


def test_a_parent_that_was_deleted_meanwhile_is_computed_again(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Garbage collection between the plan and the node: the run goes on."""
    computed: list[Node] = []
    fake(monkeypatch, computed)
    store, listener = Store("store"), Log()
    english = planned().runs[0].stages[0].node
    runner.run(runner.pending([english], store), store, listener)
    (toy / "store" / "nodes" / english.key / "node.json").unlink()
    todo = runner.pending([english], store)
    data = next(parent for parent in english.parents.values() if parent.kind == "data")
    shutil.rmtree(toy / "store" / "nodes" / data.key)
    computed.clear()
    runner.run(todo, store, listener)
    assert [node.key for node in computed] == [data.key, english.key]
    assert f"{data.name}: was deleted; it is computed again" in listener.lines


def test_a_gpu_that_is_not_here_is_said_before_anything_is_computed(
    toy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    computed: list[Node] = []
    fake(monkeypatch, computed)
    store = Store("store")
    nodes = runner.pending(wanted(planned("--train.device=cuda")), store)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(UserError, match=r"train english needs cuda \(1 GPU\(s\)\) and there are 0 here"):
        runner.run(nodes, store, Log())
    assert not computed


def test_a_node_that_breaks_stops_what_stands_on_it_and_nothing_else(
    toy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    computed: list[Node] = []
    fake(monkeypatch, computed)
    inner = runner.compute

    def compute(node: Node, *rest: Any) -> dict[str, Any]:
        if node.kind == "train" and node.name == "german":
            raise KeyError("no such column")
        return inner(node, *rest)

    monkeypatch.setattr(runner, "compute", compute)
    store, listener, graph = Store("store"), Log(), planned()
    todo = runner.pending(graph.wanted, store)
    with pytest.raises(KeyError):
        runner.run(todo, store, listener)
    computed.clear()
    with pytest.raises(
        IncompleteError, match=r"train german: broke: KeyError: 'no such column'; traceback in"
    ) as found:
        runner.run(runner.pending(graph.wanted, store), store, listener, fail_fast=False)
    assert isinstance(found.value.__cause__, KeyError)
    assert [store.has(row) for _, row in sorted(graph.runs[0].rows.items())] == [True, True, False]
    (log,) = (toy / "store" / "failed").iterdir()
    assert "KeyError: 'no such column'" in log.read_text()
    assert any(line.startswith("german: broke: KeyError") for line in listener.lines)


@pytest.mark.parametrize("error", [UserError("text: is empty"), OSError(errno.ENOSPC, "No space left on device")])
def test_bad_input_and_a_full_disk_end_the_run_at_once(
    toy: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def compute(node: Node, *_: Any) -> dict[str, Any]:
        raise error

    monkeypatch.setattr(runner, "compute", compute)
    store = Store("store")
    with pytest.raises(type(error)):
        runner.run(runner.pending(planned().wanted, store), store, Log(), fail_fast=False)
