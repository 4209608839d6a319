"""Merging end to end: what a row of R is of, what is shared with training alone, and what the report makes of it."""

from __future__ import annotations

import contextlib
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

from cl import cli
from cl.config import loading
from cl.execution.store import Store
from cl.graph import planner
from cl.graph.node import Node
from cl.graph.planner import Graph, RunPlan
from cl.graph.roles import BASE, STATE, Inputs, Role
from cl.graph.specs import MergeSpec
from cl.metrics.records import ExperimentResult
from cl.metrics.run_metrics import forgetting, peak, scores
from cl.models import adapters, pretrained
from cl.registry import Named
from cl.reporting.html.figures import figures
from cl.reporting.html.groups import groups, is_reference
from cl.steps import merge
from tests.support.instruction import write_stream
from tests.support.nodes import evaluated
from tests.support.steps import context

MERGING = ["lora_arithmetic", "lora_ties", "lora_magmax", "lora_ema"]
PLAIN = ["lora_sequential", "lora_apart"]


def plan(folder: Path, *settings: str) -> tuple[dict[str, RunPlan], Graph, Store]:
    with contextlib.chdir(folder):
        planned = planner.build(loading.load("toyexp.yaml", list(settings)))
    return {run.strategy.label: run for run in planned.runs}, planned, Store(folder / planned.experiment.store)


def write(folder: Path, **own: str) -> Path:
    """The toy stream with strategies of its own, by name with their methods."""
    (folder / "strategies").mkdir()
    for name, methods in own.items():
        text = f"{{summary: s, paper: p, keeps: k, methods: [{methods}]}}"
        (folder / "strategies" / f"{name}.yaml").write_text(text)
    return write_stream(folder, strategies=dict.fromkeys([*PLAIN, *MERGING]))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("stream"), lora_apart="scratch, rewarm_cosine, lora")


@pytest.fixture(scope="module")
def done(toy: Path) -> Path:
    with contextlib.chdir(toy):
        assert cli.main(["run", "toyexp.yaml"]) == 0
    return toy


@pytest.fixture(scope="module")
def result(done: Path) -> ExperimentResult:
    return ExperimentResult.load(done / "results" / "toyexp" / "results.json")


def weights(store: Store, node: Node) -> dict[str, Tensor]:
    """Parameters of a state, its adapters merged, or of a merged model."""
    base = store.path(node.parents[BASE])
    found = adapters.merged(adapters.load(store.path(node), base))
    return {name: value.detach() for name, value in found.named_parameters()}


def shown(run: RunPlan, row: int) -> Node:
    """What a row of R is of."""
    return run.rows[row].parents[STATE]


def test_training_is_that_of_the_plain_strategy(toy: Path) -> None:
    runs, planned, _ = plan(toy)
    keys = {label: [stage.node.key for stage in run.stages] for label, run in runs.items()}
    assert keys["lora_arithmetic"] == keys["lora_ties"] == keys["lora_apart"]
    assert keys["lora_magmax"] == keys["lora_ema"] == keys["lora_sequential"]
    assert sum(node.kind == "train" for node in planned.nodes) == 3  # the first task is the same in both
    assert len({run.rows[2].key for run in runs.values()}) == 6
    assert len({run.key for run in runs.values()}) == 6


def test_merge_nodes_are_named_and_stand_on_all_states(toy: Path) -> None:
    runs, *_ = plan(toy)
    node, run = shown(runs["lora_ties"], 2), runs["lora_ties"]
    assert (node.kind, node.name, run.rows[2].name) == ("merge", "ties up to which", "row 2 after ties up to which")
    assert [node.parents[Role("state", t)].key for t in (1, 2)] == [stage.node.key for stage in run.stages]
    assert node.key != shown(plan(toy, "--strategies={lora_ties: {ties: {keep: 0.5}}}")[0]["lora_ties"], 2).key


@pytest.mark.parametrize(
    ("setting", "same", "rows"),
    [
        ("{lora_ema: {ema: {beta: 0}}}", "lora_sequential", [0, 1, 2]),
        ("{lora_ema: null}", "lora_sequential", [0, 1]),
        ("{lora_magmax: {magmax: {scale: 1}}}", "lora_sequential", [0, 1]),
        ("{lora_arithmetic: {task_arithmetic: {scale: 1}}}", "lora_apart", [0, 1]),
        ("{lora_ties: {ties: {keep: 1}}}", "lora_apart", [0, 1]),
        ("{lora_ties: null}", "lora_apart", [0]),
        ("{lora_magmax: null}", "lora_sequential", [0]),
    ],
)
def test_a_row_that_merging_leaves_as_it_is_is_the_plain_strategy_s(
    setting: str, same: str, rows: list[int], toy: Path
) -> None:
    plain, (run,) = plan(toy)[0][same], plan(toy, f"--strategies={setting}")[0].values()
    assert [t for t in (0, 1, 2) if run.rows[t].key == plain.rows[t].key] == rows
    assert (run.key == plain.key) == (len(rows) == 3)


@pytest.mark.slow
def test_a_row_is_of_the_base_model_and_what_was_learned_of_all_tasks(done: Path) -> None:
    runs, planned, store = plan(done)
    run = runs["lora_arithmetic"]
    first, second = (weights(store, stage.node) for stage in run.stages)
    base = dict(pretrained.load(store.path(planned.base)).named_parameters())
    found = dict(AutoModelForCausalLM.from_pretrained(store.path(shown(run, 2))).named_parameters())
    for name, before in base.items():
        expected = before + 0.4 * ((first[name] - before) + (second[name] - before))
        torch.testing.assert_close(found[name], expected, rtol=0, atol=1e-6)
    assert any(not torch.equal(found[name], before) for name, before in base.items())
    assert torch.equal(found["model.embed_tokens.weight"], base["model.embed_tokens.weight"])  # no adapter there


@pytest.mark.slow
def test_the_average_of_a_stream_is_between_its_states(done: Path) -> None:
    runs, _, store = plan(done)
    run = runs["lora_ema"]
    first, second = (weights(store, stage.node) for stage in run.stages)
    found = pretrained.load(store.path(shown(run, 2)))
    for name, value in found.named_parameters():
        torch.testing.assert_close(value.detach(), (first[name] + second[name]) / 2, rtol=0, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "settings"), [("task_arithmetic", {"scale": 1.0}), ("ema", {"beta": 0.9})])
def test_one_state_at_full_scale_is_that_state(
    method: str, settings: dict[str, Any], done: Path, tmp_path: Path
) -> None:
    runs, planned, store = plan(done)
    node = runs["lora_apart"].stages[1].node
    inputs = Inputs({BASE: store.path(planned.base), Role("state", 1): store.path(node)})
    step = context(tmp_path)
    assert merge.run(MergeSpec(Named(method, settings), 1), inputs, step)["largest"] > 0
    expected = weights(store, node)
    for name, value in pretrained.load(step.out).named_parameters():
        torch.testing.assert_close(value.detach(), expected[name], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_rows_of_merged_models_follow_one_another(done: Path, result: ExperimentResult) -> None:
    runs, *_ = plan(done)
    stored = {run.strategy: run for run in result.runs}
    for label in MERGING:
        assert (stored[label].merged, stored[label].independent) == (True, False)
        assert not is_reference(stored[label])
        assert not math.isnan(forgetting(stored[label]).value)
        assert not math.isnan(scores(stored[label])["strict_fall"].value)
        assert "merged models" in peak(stored[label]).reason
    assert runs["lora_apart"].independent
    assert (stored["lora_apart"].merged, stored["lora_apart"].independent) == (False, True)
    assert (stored["lora_sequential"].merged, stored["lora_sequential"].independent) == (False, False)


@pytest.mark.slow
def test_merging_forgets_less_than_the_stream_alone(result: ExperimentResult) -> None:
    found = {run.strategy: forgetting(run).value for run in result.runs}
    assert all(found[label] < found["lora_sequential"] - 0.01 for label in MERGING)


@pytest.mark.slow
def test_the_report_shows_rows_and_no_curves_of_merged_models(done: Path, result: ExperimentResult) -> None:
    made = figures(result)["forgetting"]
    assert {trace.name for trace in made.data if trace.mode == "lines"} == {"lora_sequential"}
    dots = [list(trace.x) for trace in made.data if trace.mode == "markers"]
    assert len(dots) == 5  # all but the reference
    assert all(one[0] < one[1] for one in dots)  # also where tasks start from the base model
    assert [group.label for group in groups(result) if group.reference] == ["lora_apart"]
    html = (done / "results" / "toyexp" / "report.html").read_text(encoding="utf-8")
    assert "A strategy that merges has dots only" in html


@pytest.mark.slow
def test_again_nothing_is_executed_and_older_results_still_open(done: Path, result: ExperimentResult) -> None:
    file = done / "results" / "toyexp" / "results.json"
    with contextlib.chdir(done):
        assert cli.main(["run", "toyexp.yaml"]) == 0
    again = ExperimentResult.load(file)
    assert again.executed == 0
    assert [run.matrix for run in again.runs] == [run.matrix for run in result.runs]
    raw = json.loads(file.read_text())
    for run in raw["runs"]:
        del run["merged"]
    file.with_name("older.json").write_text(json.dumps(raw))
    assert not any(run.merged for run in ExperimentResult.load(file.with_name("older.json")).runs)


def test_a_merged_model_has_no_adapter_to_choose(tmp_path: Path) -> None:
    folder = write(tmp_path, apart="rewarm_cosine, {lora: {life: alone}}, ema")
    (run,) = plan(folder, "--strategies={apart: null}")[0].values()
    assert [evaluated(run.rows[t]).select for t in (1, 2)] == [{"copy": "t1"}, None]
    assert [shown(run, t).kind for t in (1, 2)] == ["train", "merge"]


def test_two_methods_that_merge_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write(tmp_path, both="rewarm_cosine, lora, magmax, ema")
    with contextlib.chdir(folder):
        assert cli.main(["plan", "toyexp.yaml", "--strategies={both: null}"]) == 2
    assert "strategies.both: magmax and ema both merge; keep one" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_full_fine_tuning_is_merged_as_well(tmp_path: Path) -> None:
    folder = write(tmp_path, full="rewarm_cosine, magmax")
    with contextlib.chdir(folder):
        assert cli.main(["run", "toyexp.yaml", "--strategies={full: null}"]) == 0
    runs, planned, store = plan(folder, "--strategies={full: null}")
    base = dict(pretrained.load(store.path(planned.base)).named_parameters())
    first, second = (
        {name: value.detach() for name, value in pretrained.load(store.path(stage.node)).named_parameters()}
        for stage in runs["full"].stages
    )
    for name, value in pretrained.load(store.path(shown(runs["full"], 2))).named_parameters():
        one, two = first[name] - base[name], second[name] - base[name]
        expected = base[name] + 0.5 * torch.where(two.abs() >= one.abs(), two, one)
        torch.testing.assert_close(value.detach(), expected.detach(), rtol=0, atol=1e-6)
