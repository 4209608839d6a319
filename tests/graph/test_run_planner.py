"""The chain of a run's nodes: what strategies share, what each stage reads and stands on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl.commands import run as commands
from cl.errors import UserError
from cl.execution.store import Store
from cl.graph.roles import STATE, data
from tests.support.graph import by_label, keys, planned
from tests.support.instruction import write_stream
from tests.support.nodes import evaluated, local_of, trained
from tests.support.training import plan, write_strategy
from tests.support.vllm_server import install


@pytest.fixture
def run(toy: Path, capsys: pytest.CaptureFixture[str]) -> Any:
    """`cl run toy.yaml` with overrides; gives results.json."""

    def call(*overrides: str) -> dict[str, Any]:
        commands.run("toy.yaml", list(overrides))
        capsys.readouterr()
        found: dict[str, Any] = json.loads(Path("results/toy/results.json").read_text())
        return found

    return call


@pytest.mark.slow
def test_the_plan_forecasts_what_is_read(toy: Path, run: Any) -> None:
    overrides = ["--strategies={rewarm_replay: {replay: {share: 0.25}}, infinite_cosine: , joint: }"]
    run(*overrides)
    found, store = planned(*overrides), Store("store")
    for stage in (stage for r in found.runs for stage in r.stages):
        ledger = json.loads(store.result(stage.node)["ledger"])
        assert {name: account["tokens"] for name, account in ledger.items()} == stage.after.tokens
        assert store.result(stage.node)["tokens"] == stage.node.cost


def test_strategies_share_what_they_have_in_common(toy: Path) -> None:
    found = planned("--strategies={finetune: , rewarm: , rewarm_replay: , scratch: , rewarm_keep: }")
    runs = by_label(found)
    assert len({keys(run)[0] for run in runs.values()}) == 1
    assert len({keys(run)[1] for run in runs.values()}) == 5
    assert (found.asked, len({key for run in found.runs for key in keys(run)})) == (10, 6)
    assert len({run.rows[1].key for run in runs.values()}) == 1
    kinds = [n.kind for n in found.nodes]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "tokenizer": 1,
        "data": 2,
        "base": 1,
        "train": 6,
        "evaluate": 7,
    }
    position = {n.key: i for i, n in enumerate(found.nodes)}
    assert all(position[p.key] < position[n.key] for n in found.nodes for p in n.parents.values())


def test_of_a_shared_node_all_is_kept_that_any_run_needs(toy: Path) -> None:
    found = planned("--strategies={rewarm: , rewarm_keep: }")
    (shared,) = [n for n in found.nodes if n.name == "english" and n.kind == "train"]
    assert shared.needs == {"optimizer.safetensors"}
    assert local_of(shared).keep_optimizer is True


def test_replay_of_nothing_is_no_replay(toy: Path) -> None:
    runs = by_label(planned("--strategies={rewarm: , rewarm_replay: {replay: {share: 0.0}}}"))
    assert keys(runs["rewarm"]) == keys(runs["rewarm_replay"])


def test_replay_reads_old_data_in_place_of_new(toy: Path) -> None:
    english, german = planned("--strategies={rewarm_replay: {replay: {share: 0.25}}}").runs[0].stages
    assert trained(english.node).shares == {"english": 1.0}
    assert trained(german.node).shares == {"german": 0.75, "replay:english": 0.25}
    assert {role for role in german.node.parents if role.kind == "data"} == {data("english"), data("german")}
    assert (english.node.cost, german.node.cost, german.parent) == (1024, 1024, english)
    assert german.before.tokens == {"english": 1024}
    assert german.after.tokens == {"english": 1024 + 256, "german": 768}


def test_an_infinite_schedule_is_a_trunk_with_a_fork_per_task(toy: Path) -> None:
    stages = planned("--strategies={infinite_cosine: }").runs[0].stages
    parents = {stage.stage.name: stage.node.parents[STATE].name for stage in stages}
    assert parents == {
        "english trunk": "llama-tiny",
        "english anneal": "english trunk",
        "german trunk": "english trunk",
        "german anneal": "german trunk",
    }
    assert [stage.stage.row for stage in stages] == [None, 1, None, 2]
    assert [bool(stage.node.needs) for stage in stages] == [True, False, True, False]
    assert [trained(stage.node).optimizer for stage in stages] == ["reset", "keep", "keep", "keep"]
    steps = [(trained(stage.node).first, trained(stage.node).last) for stage in stages]
    assert steps == [(0, 7), (7, 8), (0, 7), (7, 8)]  # 85 % of 8 steps
    assert [stage.parent for stage in stages] == [None, stages[0], stages[0], stages[2]]


def test_joint_training_is_one_stage_whatever_the_order(toy: Path) -> None:
    first, second = planned("--strategies={joint: }", "--orders=[[english, german], [german, english]]").runs
    (stage,) = first.stages
    assert trained(stage.node).shares == {"english": 0.5, "german": 0.5}
    assert (stage.node.cost, stage.stage.row, list(first.rows)) == (2048, 2, [0, 2])
    assert keys(first) == keys(second)
    assert list(trained(first.stages[0].node).shares) == list(trained(second.stages[0].node).shares)


def test_from_scratch_every_task_starts_from_the_base_model(toy: Path) -> None:
    found = planned("--strategies={finetune: , scratch: }")
    assert [s.node.parents[STATE].key for s in by_label(found)["scratch"].stages] == [found.base.key] * 2


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (["rewarm_cosine", "rewarm_cosine"], "strategies.own: two schedules in stage 1: "),
        (["seq_star"], "strategies.own: seq_star: english is a set of kind text; name one of kind instruction"),
        (["lora", "prompts"], "strategies.own: lora and prompts both add adapters; keep one"),
    ],
)
def test_methods_that_cannot_train_a_stage_together_are_told(toy: Path, methods: list[str], message: str) -> None:
    write_strategy(toy, "own", methods)
    with pytest.raises(UserError) as told:
        planned("--strategies={own: }")
    assert str(told.value).startswith(message)


def test_prompts_of_answers_are_in_the_key_of_rows_alone_and_in_the_notes(tmp_path: Path) -> None:
    folder = write_stream(tmp_path)
    plain, _ = plan(folder)
    same, _ = plan(folder, "--evaluation.choice_orders=1", "--evaluation.repeat_context=1")
    assert {node.key for node in same.nodes} == {node.key for node in plain.nodes}
    assert "choice_orders" not in plain.runs[0].rows[0].identity["spec"]
    for setting in ("choice_orders", "repeat_context"):
        graph, _ = plan(folder, f"--evaluation.{setting}=2")
        moved = {node.kind for node in graph.nodes} - {"evaluate"}
        assert {node.key for node in graph.nodes if node.kind in moved} == {
            node.key for node in plain.nodes if node.kind in moved
        }
        (run,) = graph.runs
        assert all(run.rows[t].key != plain.runs[0].rows[t].key for t in run.rows)
        assert getattr(evaluated(run.rows[0]), setting) == 2
        assert " 2 " in graph.warnings[0]
    assert plain.warnings == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            ["--evaluation.choice_orders=4"],
            r"evaluation\.choice_orders: has no effect: no measured set is of kind instr",
        ),
        (["--evaluation.repeat_context=2"], r"evaluation\.repeat_context: has no effect: no measured set is of kind"),
        (["--evaluation.repeat_context=0"], r"evaluation\.repeat_context: 0 must be at least 1"),
        (["--evaluation.choice_orders=101"], r"evaluation\.choice_orders: 101 must be at most 100"),
    ],
)
def test_prompts_without_answers_are_refused(toy: Path, settings: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        planned(*settings)


def test_prompts_of_no_items_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluation\.choice_orders: has no effect: evaluation\.items is 0; remove it"):
        plan(write_stream(tmp_path), "--evaluation.items=0", "--evaluation.choice_orders=2")


def test_stop_strings_and_another_engine_are_in_the_key_of_rows_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_stream(tmp_path)
    plain, _ = plan(folder)
    same, _ = plan(folder, "--evaluation.stop=[]", "--evaluation.engine=transformers")
    assert {node.key for node in same.nodes} == {node.key for node in plain.nodes}
    assert plain.runs[0].rows[0].identity["spec"].keys().isdisjoint({"stop", "engine", "harness"})
    install(tmp_path / "bin", "0.11.2")
    monkeypatch.syspath_prepend(str(tmp_path / "bin"))
    for setting, spec, note in (
        ("stop=['###']", {"stop": ["###"]}, "an answer ends before the first of ['###']"),
        ("engine=vllm", {"engine": "vllm 0.11.2"}, "answers are those of vllm"),
    ):
        found, _ = plan(folder, f"--evaluation.{setting}")
        changed = {node.kind for node in found.nodes if node.key not in {each.key for each in plain.nodes}}
        assert changed == {"evaluate"}
        row = found.runs[0].rows[0].identity["spec"]
        assert {key: row[key] for key in spec} == spec
        assert note in found.warnings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("engine=vllm", r"evaluation\.engine: vllm is not installed; pip install 'cl\[vllm\]', or use transformers"),
        ("stop=['']", r"evaluation\.stop: \[''\] must be at most 16 different texts, none empty"),
        ("stop=['a', 'a']", r"evaluation\.stop: \['a', 'a'\] must be at most 16 different texts, none empty"),
    ],
)
def test_ways_to_answer_that_cannot_be(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(write_stream(tmp_path), f"--evaluation.{setting}")


def test_stop_strings_have_no_effect_without_answers(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"evaluation\.stop: has no effect: evaluation\.items is 0; remove it"):
        plan(write_stream(tmp_path), "--evaluation.items=0", "--evaluation.stop=['x']")
