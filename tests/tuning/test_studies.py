"""Protocols: what each lets a study look at, and what is refused."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from cl.config import loading
from cl.errors import UserError
from cl.graph import planner
from cl.tuning import studies
from cl.tuning.studies import StudyPlan
from tests.support.nodes import evaluated, trained
from tests.support.training import SCENARIO, TEXTS, write_toy

LR = {"value": 3e-3, "low": 1e-3, "high": 1e-2, "log": True}


def planned(folder: Path, tune: dict[str, Any], **changes: Any) -> list[StudyPlan]:
    """The studies of a toy experiment on three tasks."""
    write_toy(folder, **({"train": {"lr": LR}, "tune": tune, "strategies": {"rewarm": None}} | changes))
    own = yaml.safe_load((folder / "toy.yaml").read_text())
    tasks = {
        name: {"limit": f"{kilobytes}kB", "sources": own["tasks"]["english"]["sources"]}
        for name, kilobytes in {"a": 7, "b": 8, "c": 9}.items()
    }
    (folder / "toy.yaml").write_text(yaml.safe_dump(own | {"tasks": tasks}))
    with contextlib.chdir(folder):
        _, found = studies.plan(*loading.read("toyexp.yaml"))
    return found


def test_first_k_looks_at_the_first_tasks_and_orders_that_begin_alike_share_a_study(tmp_path: Path) -> None:
    orders = [["a", "b", "c"], ["a", "c", "b"], ["b", "a", "c"]]
    first, second = planned(tmp_path, {"protocol": "first_k", "first": 1}, orders=orders)
    assert (first.tasks, first.orders) == (["a"], ["a > b > c", "a > c > b"])
    assert (second.tasks, second.orders) == (["b"], ["b > a > c"])
    with contextlib.chdir(tmp_path):
        (run,) = planner.build(loading.parse(first.experiment({"train.lr": 2e-3}))).runs
    assert [plan.stage.name for plan in run.stages] == ["a"]
    assert {evaluated(row).sets for row in run.rows.values()} == {("a",)}
    assert {evaluated(row).split for row in run.rows.values()} == {"validation"}
    assert trained(run.stages[0].node).train.lr == 2e-3


def test_a_trial_shares_its_train_nodes_with_the_runs_that_follow(tmp_path: Path) -> None:
    (study,) = planned(tmp_path, {"protocol": "first_k", "first": 2})
    with contextlib.chdir(tmp_path):
        (trial,) = planner.build(loading.parse(study.experiment({}))).runs
        (whole,) = planner.build(loading.load("toyexp.yaml")).runs
    assert [plan.node.key for plan in trial.stages] == [plan.node.key for plan in whole.stages][:2]
    assert not {row.key for row in trial.rows.values()} & {row.key for row in whole.rows.values()}


def test_the_oracle_looks_at_the_whole_stream_and_is_called_cheating(tmp_path: Path) -> None:
    found = planned(tmp_path, {"protocol": "oracle"})
    assert [study.tasks for study in found] == [["a", "b", "c"]]
    with contextlib.chdir(tmp_path):
        whole = loading.load("toyexp.yaml")
        chosen = studies.tuned(whole, [(found[0], {"train.lr": 2e-3})])
        Path("tuned.yaml").write_text(yaml.safe_dump(chosen))
        again = planner.build(loading.load("toyexp.yaml", ["--tuned=tuned.yaml"]))
    assert chosen["values"] == {"rewarm": {"a > b > c": {"train.lr": 2e-3}}}
    assert again.warnings[0].startswith("CHEATING: hyperparameters chosen by oracle: 20 trials of tpe each for rewarm")
    assert {trained(plan.node).train.lr for plan in again.runs[0].stages} == {2e-3}


def test_values_are_of_one_strategy_and_one_order(tmp_path: Path) -> None:
    planned(tmp_path, {"protocol": "oracle"}, strategies={"rewarm": None, "finetune": None})
    values = {"rewarm": {"a > b > c": {"train.lr": 2e-3}, "b > a > c": {"train.lr": 4e-3}}}
    tuned = {"protocol": "first_k", "about": "x", "skip": 1, "values": values, "made_for": {"tokens": 512}}
    with contextlib.chdir(tmp_path):
        Path("tuned.yaml").write_text(yaml.safe_dump(tuned))
        use = ["--tuned=tuned.yaml", "--orders=[[a,b,c],[b,a,c]]"]
        planned_runs = planner.build(loading.load("toyexp.yaml", use))
        runs = planned_runs.runs
        assert planned_runs.warnings[1:] == [
            "not tuned, with the values of the file: finetune",
            "hyperparameters were chosen with tokens 512, and are used with 3072",
        ]
        rates = {(run.strategy.label, run.order[0]): trained(run.stages[0].node).train.lr for run in runs}
        assert rates == {("rewarm", "a"): 2e-3, ("rewarm", "b"): 4e-3, ("finetune", "a"): 3e-3, ("finetune", "b"): 3e-3}
        with pytest.raises(UserError, match="nothing was chosen for rewarm in the order c > a > b"):
            planner.build(loading.load("toyexp.yaml", ["--tuned=tuned.yaml", "--orders=[[c,a,b]]"]))
        with pytest.raises(UserError, match=r"--train\.lr: is also set by tuned: tuned\.yaml"):
            loading.load("toyexp.yaml", ["--tuned=tuned.yaml", "--train.lr=1e-3"])
        with pytest.raises(UserError, match="leave upto or tuned out"):
            loading.load("toyexp.yaml", ["--tuned=tuned.yaml", "--upto=1"])
        Path("empty.yaml").write_text("")
        with pytest.raises(UserError, match="holds no values"):
            loading.load("toyexp.yaml", ["--tuned=empty.yaml"])


def test_two_streams_have_no_task_in_common(tmp_path: Path) -> None:
    other = {**SCENARIO, "tasks": {"psalms": {"sources": [{"source": "files", "path": str(TEXTS / "psalms.txt"),
                                                            "separator": "\n\n"}]}}}  # fmt: skip
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
    (study,) = planned(tmp_path, {"protocol": "two_stream", "scenario": "other.yaml"})
    assert (study.tasks, study.orders) == (["psalms"], ["*"])
    source = {"source": "files", "path": str(tmp_path / "english.txt"), "separator": "\n\n"}
    again = {**other, "tasks": {"cut": {"limit": "5kB", "sources": [source]}}, "split": {"seed": 7}}
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(again))
    with pytest.raises(UserError, match=r"tune\.scenario: 'cut' reads a source that a set of toy reads"):
        planned(tmp_path, {"protocol": "two_stream", "scenario": "other.yaml"})


def test_a_space_holds_what_a_strategy_has(tmp_path: Path) -> None:
    share = {"replay": {"share": {"value": 0.1, "choices": [0.1, 0.5]}}}
    found = planned(
        tmp_path, {"protocol": "oracle"}, strategies={"rewarm": None, "rewarm_replay": None}, strategy=share
    )
    assert [set(study.space) for study in found] == [{"train.lr"}, {"train.lr", "strategy.replay.share"}]
    assert [study.raw["strategy"] for study in found] == [{}, {"replay": {"share": 0.1}}]


def test_a_range_without_effect_on_what_is_looked_at_is_refused(tmp_path: Path) -> None:
    share = {"replay": {"share": {"value": 0.1, "choices": [0.1, 0.5]}}}
    changes: dict[str, Any] = {"strategies": {"rewarm_replay": None}, "strategy": share}
    with pytest.raises(
        UserError, match=r"strategy\.replay\.share: has no effect on rewarm_replay before the end of a;"
    ):
        planned(tmp_path, {"protocol": "first_k", "first": 1}, **changes)
    assert len(planned(tmp_path, {"protocol": "first_k", "first": 2}, **changes)) == 1


@pytest.mark.slow
def test_another_question_is_another_study(tmp_path: Path) -> None:
    def name(tune: dict[str, Any], **changes: Any) -> str:
        return planned(tmp_path, {"protocol": "oracle"} | tune, **changes)[0].name

    plain = name({})
    path = tmp_path / "english.txt"
    path.write_text(path.read_text() + "\n\nOne more paragraph.")
    found = studies.plan(*loading.read(str(tmp_path / "toyexp.yaml")))[1][0].name
    assert found != plain  # the data are in it
    plain = name({})
    assert name({"trials": 3, "workers": 2, "sampler": "random"}) == plain
    assert name({"objectives": ["forgetting/first_nll"]}) != plain
    assert name({}, tokens=1024) != plain
    assert name({}, train={"lr": LR | {"high": 2e-2}}) != plain


@pytest.mark.parametrize(
    ("tune", "changes", "message"),
    [
        ({}, {"train": {"lr": 1e-3}}, "tune: nothing to search; write a range"),
        ({}, {"evaluation": {"batch": {"value": 4, "choices": [4, 8]}}}, r"evaluation\.batch: cannot be searched"),
        ({"first": 3}, {}, r"tune\.first: 3 leaves none of 3 tasks"),
        ({"first": 0}, {}, r"tune\.first: 0 must be at least 1"),
        ({"strategies": ["joint"]}, {}, "'joint' is none of rewarm"),
        ({"protocol": "two_stream"}, {}, "two_stream alone needs one"),
        ({"objectives": ["forgetting/first_nll"]}, {}, r"of 1 task\(s\) is undefined: needs at least 2 tasks"),
        ({"objectives": ["accuracy"]}, {}, "'accuracy' is unknown; there are adaptation/nll"),
        ({"objectives": []}, {}, "must name different metrics"),
    ],
)
def test_what_cannot_be_tuned_is_refused(
    tmp_path: Path, tune: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        planned(tmp_path, tune, **changes)
