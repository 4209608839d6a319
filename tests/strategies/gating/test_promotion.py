"""The promotion gate: its decision by hand, a harmful task that is rolled back, and that nothing of it is left."""

from __future__ import annotations

import contextlib
import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cl.errors import UserError
from cl.execution import runner
from cl.execution.store import Store
from cl.graph.node import Node
from cl.graph.run_plan import RunPlan
from cl.hashing import digest
from cl.metrics.certificate import Change
from strategies.gating.promotion import Promotion, decide
from tests.support import training
from tests.support.graph import write_pretrained

BATCH = 4 * 32  # tokens per optimizer step of the toy
NEVER: dict[str, Any] = {"promotion": {"gain": 1e9, "tasks": "later"}}


@pytest.mark.parametrize(
    ("gain", "bounds", "decision"),
    [
        (0.5, [], "accept"),
        (0.5, [(-0.1, 0.3)], "accept"),  # touches the margin
        (0.5, [(-0.11, 0.3)], "hold"),  # harm is not ruled out
        (0.5, [(-0.3, -0.1)], "hold"),  # nor shown
        (0.5, [(-0.3, -0.11)], "rollback"),
        (0.5, [(0.0, 0.1), (-0.3, -0.11)], "rollback"),  # one set suffices
        (0.5, [(0.0, 0.1), (-0.2, 0.1)], "hold"),  # all sets must pass
        (0.2, [(0.0, 0.1)], "accept"),
        (0.19, [(0.0, 0.1)], "hold"),  # no gain
        (0.19, [(-0.3, -0.2)], "rollback"),
    ],
)
def test_the_decision_by_hand(gain: float, bounds: list[tuple[float, float]], decision: str) -> None:
    assert decide(gain, required=0.2, bounds=bounds, margin=0.1) == decision
    regression = {str(at): Change(0.0, low, high, 30) for at, (low, high) in enumerate(bounds)}
    method = Promotion(gain=0.2, margin=0.1)
    assert method.decide(Change(gain, -9.0, 9.0, 30), regression) == decision  # the gain counts by its mean


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gain": float("nan")}, "gain: nan must be a finite number"),
        ({"margin": -0.1}, "margin: -0.1 must be a finite number of at least 0"),
        ({"margin": float("inf")}, "margin: inf must be a finite number of at least 0"),
        ({"retain": ["a", "a"]}, r"retain: \['a', 'a'\] names a set twice"),
        ({"interval": 95}, "interval: 95 must be a level between 0 and 1"),
        ({"tasks": "some"}, "tasks: 'some' is not one of all, first, later"),
    ],
)
def test_settings_that_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Promotion(**settings)


def test_the_first_task_without_retained_sets_is_warned_of() -> None:
    assert Promotion(tasks="first").validate([]) == [
        "the first task is judged by its gain alone; name sets under retain"
    ]
    assert Promotion(tasks="first", retain=["psalms"]).validate([]) == Promotion().validate([]) == []


def write_harmful(folder: Path, **changes: Any) -> Path:
    """A stream of two halves of one English text, with the first half's letters in disorder in between."""
    training.write_toy(folder, **changes)
    documents = (folder / "english.txt").read_text(encoding="utf-8").split("\n\n")
    half, chance = len(documents) // 2, random.Random(0)
    noise = ["".join(chance.sample(text := document.replace("\n", " "), len(text))) for document in documents[:half]]
    parts = {"english": documents[:half], "noise": noise, "more": documents[half:]}
    scenario: dict[str, Any] = copy.deepcopy(training.SCENARIO) | {"tasks": {}}
    for name, texts in parts.items():
        (folder / f"{name}.txt").write_text("\n\n".join(texts), encoding="utf-8")
        source = {"source": "files", "path": f"{name}.txt", "separator": "\n\n"}
        scenario["tasks"][name] = {"limit": "9kB", "sources": [source]}
    (folder / "toy.yaml").write_text(yaml.safe_dump(scenario, sort_keys=False), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def harmful(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder and results of a gated and an ungated run of the harmful stream; noise is learned at a high rate."""
    folder = write_harmful(
        tmp_path_factory.mktemp("harmful"),
        strategies={"finetune": None, "finetune_gated": {"promotion": {"margin": 0.1}}},
        tokens={"english": 90 * BATCH, "noise": 20 * BATCH, "more": 20 * BATCH},
        by_task={"noise": {"train": {"lr": 0.01}}},
        evaluation={"tokens": 2048, "points": 0},
    )
    return folder, {run["strategy"]: run for run in training.run(folder)["runs"]}


def losses(run: dict[str, Any], task: str) -> list[float]:
    """Loss of a task in each row of R, on test data."""
    return [row[task]["nll"] / row[task]["tokens"] for _, row in sorted(run["matrix"].items())]


@pytest.mark.slow
def test_a_harmful_task_is_rolled_back_and_leaves_nothing(harmful: tuple[Path, dict[str, Any]]) -> None:
    folder, runs = harmful
    plain, gated = runs["finetune"], runs["finetune_gated"]
    assert [gated["gates"][t]["decision"] for t in "123"] == ["accept", "rollback", "accept"]
    assert gated["matrix"]["2"] == gated["matrix"]["1"]  # bit for bit
    assert gated["matrix"]["1"] == plain["matrix"]["1"]
    assert losses(plain, "english")[2] - losses(plain, "english")[1] > 0.2  # which the other strategy forgets
    assert losses(gated, "english")[3] < losses(gated, "english")[1]
    graph, store = training.plan(folder)
    run = graph.runs[1]
    kept, english = store.path(run.stages[1].state), store.path(run.stages[0].node)
    assert hashes(kept) == hashes(english)
    english_key = run.stages[0].node.key
    assert store.result(run.stages[1].state)["promoted"] == english_key
    assert [gated["gates"][t]["rollback_point"] for t in "23"] == [english_key, english_key]
    assert list(gated["gates"]["3"]["regression"]) == ["english"]  # noise was not taken


@pytest.mark.slow
def test_the_certificates_stand_beside_the_results_and_in_the_report(harmful: tuple[Path, dict[str, Any]]) -> None:
    folder, runs = harmful
    written = sorted((folder / "results" / "toyexp").glob("gate-*.json"))
    assert [path.name for path in written] == [
        f"gate-finetune_gated-english-noise-more-seed0-{t}.json" for t in (1, 2, 3)
    ]
    assert [yaml.safe_load(path.read_text()) for path in written] == list(runs["finetune_gated"]["gates"].values())
    page = (folder / "results" / "toyexp" / "report.html").read_text(encoding="utf-8")
    assert "Promotion gates" in page
    assert "rolled back" in page


def hashes(folder: Path) -> dict[str, str]:
    """Hash of each file of a state."""
    names = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "node.json")
    return {path.relative_to(folder).as_posix(): digest(path.read_bytes().hex()) for path in names}


PLAIN: list[Any] = [{"rewarm_cosine": {"tasks": "first"}}, {"constant": {"tasks": "later", "warmup": 0.01}}]
METHODS: dict[str, list[Any]] = {
    "weights": PLAIN,
    "optimizer": [*PLAIN, {"optimizer_state": {"policy": "keep"}}],
    "memory": [*PLAIN, "ewc"],
    "memory_and_state": [*PLAIN, "si"],
    "adapter": ["rewarm_cosine", {"lora": {"r": 2}}],
    "teacher": [*PLAIN, "lwf"],
}


def last_stage(folder: Path, methods: list[Any], **changes: Any) -> tuple[RunPlan, Store]:
    """Train a stream up to the last stage, whose gate is left out."""
    folder = write_harmful(folder, strategies={"own": None}, tokens=6 * BATCH, model={"name": "./model"}, **changes)
    training.write_strategy(folder, "own", methods)
    torch.manual_seed(0)
    with contextlib.chdir(folder):
        write_pretrained()
    if not any("promotion" in method for method in methods):  # the stream without the task
        scenario = yaml.safe_load((folder / "toy.yaml").read_text(encoding="utf-8"))
        del scenario["tasks"]["noise"]
        (folder / "toy.yaml").write_text(yaml.safe_dump(scenario, sort_keys=False), encoding="utf-8")
    graph, store = training.plan(folder)
    run = graph.runs[0]
    execute(folder, store, run.stages[-1].node)
    return run, store


def execute(folder: Path, store: Store, *nodes: Node) -> None:
    with contextlib.chdir(folder):
        runner.run(runner.pending(nodes, store), store, training.Silent())


@pytest.mark.slow
@pytest.mark.parametrize("kept", METHODS)
def test_what_comes_later_is_as_if_the_task_had_never_been_taken(kept: str, tmp_path: Path) -> None:
    """Weights, optimizer state, memories, states of methods, adapters, teachers and the ledger, bit for bit."""
    evaluation = {"tokens": 2048, "points": 0}
    gated, store = last_stage(tmp_path / "gated", [*METHODS[kept], NEVER], evaluation=evaluation)
    assert gated.stages[1].gate is not None
    assert store.result(gated.stages[1].gate)["decision"] == "hold"
    plain, other = last_stage(tmp_path / "plain", METHODS[kept], evaluation=evaluation)
    mine, theirs = gated.stages[2].node, plain.stages[1].node
    assert hashes(store.path(mine)) == hashes(other.path(theirs))
    assert store.result(mine)["ledger"] == other.result(theirs)["ledger"]
    points = [[(p["loss"], p["lr"]) for p in s.result(n)["points"]] for s, n in ((store, mine), (other, theirs))]
    assert points[0] == points[1]


@pytest.mark.slow
def test_before_the_first_task_there_is_the_base_model(tmp_path: Path) -> None:
    always = {"promotion": {"gain": 1e9}}
    run, store = last_stage(tmp_path, [*PLAIN, always], evaluation={"tokens": 2048, "points": 0})
    base = run.rows[0].parents[next(role for role in run.rows[0].parents if str(role) == "state")]
    assert hashes(store.path(run.stages[1].state)) == hashes(store.path(base))
    execute(tmp_path, store, run.rows[0], run.rows[3])
    assert store.result(run.rows[3])["cells"] == store.result(run.rows[0])["cells"]


@pytest.mark.slow
def test_a_gate_that_lets_everything_through_changes_no_bit(tmp_path: Path) -> None:
    open_gate = {"promotion": {"gain": -1e9, "margin": 1e9}}
    folder = write_harmful(
        tmp_path, strategies={"open": None, "plain": None}, tokens=6 * BATCH, evaluation={"tokens": 2048, "points": 0}
    )
    training.write_strategy(folder, "open", [*PLAIN, open_gate])
    training.write_strategy(folder, "plain", PLAIN)
    training.run(folder)
    assert training.matrix(folder, "open") == training.matrix(folder, "plain")
    assert training.weights(folder, "open") == training.weights(folder, "plain")
