"""Executing a graph: what is stored is not computed again, and reports the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl.commands import run as commands
from cl.config import loading
from cl.errors import UserError
from cl.execution import runner
from cl.execution.store import Store
from cl.graph import planner
from cl.graph.node import Node
from cl.graph.planner import Graph
from cl.metrics.records import Point


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

    def finished(self, node: Node, seconds: float) -> None:
        self.lines.append(f"finished {node.name}")


def planned(*overrides: str) -> Graph:
    return planner.build(loading.load("toy.yaml", list(overrides)))


def fake(monkeypatch: pytest.MonkeyPatch, computed: list[Node]) -> None:
    """Execute nodes by writing them down."""

    def execute(node: Node, store: Store, work: Path, listener: Any) -> dict[str, Any]:
        for parent in node.parents.values():
            assert store.path(parent).is_dir()
        for name in node.needs:
            (work / "out" / name).write_text("state")
        computed.append(node)
        return {}

    monkeypatch.setattr(runner, "_EXECUTE", dict.fromkeys(runner._EXECUTE, execute))


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
    assert computed[0].local["keep_optimizer"] is True
    assert runner.pending(both, store) == []


def test_nodes_are_announced_and_finished_ones_survive_a_failure(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake(monkeypatch, [])
    found, store, log = planned(), Store("store"), Log()
    german = found.runs[0].stages[1].node
    monkeypatch.delitem(runner._EXECUTE, "train")
    with pytest.raises(KeyError, match="train"):
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
    fake(monkeypatch, [])
    store = Store("store")
    monkeypatch.setitem(runner._EXECUTE, "train", lambda *_: {"points": [{"loss": float("nan")}]})
    english = planned().runs[0].stages[0].node
    with pytest.raises(UserError, match="train english: the loss is not finite, training diverged"):
        runner.run(runner.pending([english], store), store, Log())
    assert not store.has(english)


@pytest.fixture
def run(toy: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """`cl run toy.yaml` with overrides; gives results.json."""

    def call(*overrides: str) -> dict[str, Any]:
        commands.run("toy.yaml", list(overrides))
        capsys.readouterr()
        found: dict[str, Any] = json.loads(Path("results/toy/results.json").read_text())
        return found

    return call


def comparable(result: dict[str, Any]) -> dict[str, Any]:
    """A result without what may differ between a call that computes and one that finds everything."""
    stages = [stage for run in result["runs"] for stage in run["stages"]]
    return {
        **result,
        "executed": None,
        "seconds": None,
        "stages": [{**stage, "reused": None} for stage in stages],
        "runs": [{**run, "stages": None} for run in result["runs"]],
    }


@pytest.mark.slow
def test_a_second_call_executes_nothing_and_reports_the_same(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    cold = run()
    assert (cold["asked"], cold["executed"]) == (2, 2)
    assert [stage["reused"] for stage in cold["runs"][0]["stages"]] == [False, False]
    monkeypatch.setattr(runner, "_EXECUTE", {})
    warm = run()
    assert (warm["asked"], warm["executed"]) == (2, 0)
    assert [stage["reused"] for stage in warm["runs"][0]["stages"]] == [True, True]
    assert comparable(warm) == comparable(cold)
    assert warm["seconds"] < cold["seconds"]


@pytest.mark.slow
def test_a_reused_node_is_reported_as_such_and_changes_no_score(run: Any, toy: Path) -> None:
    both = "--strategies={finetune: , rewarm_replay: {replay: {share: 0.25}}}"
    run()
    warm = run(both)
    assert (warm["asked"], warm["executed"]) == (4, 1)
    assert [stage["reused"] for r in warm["runs"] for stage in r["stages"]] == [True, True, True, False]
    cold = run(both, "--store=fresh")
    assert (cold["asked"], cold["executed"]) == (4, 3)
    assert without_times(cold) == without_times(warm)


def without_times(result: dict[str, Any]) -> list[Any]:
    """Everything that was measured in a result, except times."""
    return [
        (r["matrix"], r["matrix_keys"], r["key"], [(s["key"], s["seen"], s["tokens"], losses(s)) for s in r["stages"]])
        for r in result["runs"]
    ]


def losses(stage: dict[str, Any]) -> list[Any]:
    return [(p["step"], p["loss"], p["lr"], p["grad_norm"], p["seen"]) for p in stage["points"]]


@pytest.mark.slow
def test_the_plan_forecasts_what_is_read(toy: Path, run: Any) -> None:
    overrides = ["--strategies={rewarm_replay: {replay: {share: 0.25}}, infinite_cosine: , joint: }"]
    run(*overrides)
    found, store = planned(*overrides), Store("store")
    for stage in (stage for r in found.runs for stage in r.stages):
        ledger = json.loads(store.result(stage.node)["ledger"])
        assert {name: account["tokens"] for name, account in ledger.items()} == stage.after.tokens
        assert store.result(stage.node)["tokens"] == stage.node.cost


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
