"""Hyperparameters chosen for each task as it comes: what is tried in which order, and what it may look at."""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
import yaml

from cl import cli
from cl.config import loading
from cl.config.search_ranges import Range
from cl.graph import planner
from cl.tuning import per_task
from cl.tuning import search as tuning
from cl.tuning.studies import StudyPlan
from tests.support.nodes import evaluated
from tests.support.training import write_toy

LR = {"value": 3e-3, "low": 1e-3, "high": 1e-2, "log": True}
SHARE = {"value": 0.25, "choices": [0.0, 0.1, 0.25, 0.5]}


def toy(folder: Path, tune: dict[str, Any], **changes: Any) -> Path:
    values = {
        "tokens": 1024,
        "train": {"lr": LR},
        "strategies": {"rewarm_replay": None},
        "strategy": {"replay": {"share": SHARE}},
        "tune": {"protocol": "per_task", "trials": 3} | tune,
    }
    return write_toy(folder, **(values | changes))


def test_numbers_decay_together_to_their_low_ends() -> None:
    space = {"a": Range("a", 1.0, 0.5, 8.0), "n": Range("n", 4, 0, 5)}
    found = list(per_task.decays(space, 0.5, 9))
    assert [each["a"] for each in found] == [8.0, 4.0, 2.0, 1.0, 0.5]
    assert [each["n"] for each in found] == [5, 2, 1, 0, 0]


def test_choices_go_back_one_by_one_and_the_plastic_end_is_always_last() -> None:
    space = {"share": Range("share", 0.1, choices=(0.0, 0.1, 0.5))}
    assert list(per_task.decays(space, 0.5, 9)) == [{"share": 0.5}, {"share": 0.1}, {"share": 0.0}]
    assert list(per_task.decays(space, 0.5, 2)) == [{"share": 0.5}, {"share": 0.0}]
    zero = {"w": Range("w", 1.0, 0.0, 1.0)}
    assert [each["w"] for each in per_task.decays(zero, 0.5, 4)] == [1.0, 0.5, 0.25, 0.0]


def test_a_step_is_kept() -> None:
    assert [v["w"] for v in per_task.decays({"w": Range("w", 1.0, 0.0, 1.0, step=0.2)}, 0.5, 5)] == pytest.approx(
        [1.0, 0.4, 0.2, 0.0]
    )
    uneven = {"w": Range("w", 0.6, 0.0, 1.0, step=0.6)}  # 1.0 is no multiple: nobody could try it
    assert [v["w"] for v in per_task.decays(uneven, 0.5, 5)] == pytest.approx([0.6, 0.0])


@pytest.mark.parametrize(
    ("value", "lower", "enough"), [(2.4, True, True), (2.41, True, False), (1.6, False, True), (1.59, False, False)]
)
def test_the_margin_is_relative_and_on_the_bad_side(value: float, lower: bool, enough: bool) -> None:
    assert per_task.kept(value, 2.0, 0.2, lower) is enough


class Fake:
    """A search that trains nothing: a loss that grows with the share and is least at the rate 0.002."""

    def __init__(self) -> None:
        self.asked: list[tuple[StudyPlan, Any]] = []

    def __call__(self, plan: StudyPlan, tries: Any, enough: Callable[[float], bool]) -> Any:
        self.asked.append((plan, tries))
        for params in tries or [{"train.lr": 0.002}]:
            share = params.get("strategy.replay.share", plan.raw["strategy"]["replay"]["share"])
            value = 2.0 + share
            if enough(value):
                break
        chosen = SimpleNamespace(values=[value], params=params)
        return SimpleNamespace(plan=plan, chosen=chosen)


def chosen(folder: Path, search: Any) -> Any:
    with contextlib.chdir(folder):
        return per_task.choose(*loading.read("toyexp.yaml"), search)[1]


@pytest.mark.slow
def test_each_task_gets_a_rate_then_as_much_stability_as_the_margin_allows(tmp_path: Path) -> None:
    fake = Fake()
    (found,) = chosen(toy(tmp_path, {"margin": 0.06}), fake)
    assert found.by_task == {  # 2.1 is within 6 % of 2.0, 2.25 is not; three tries are the most: .5, .25, 0
        "english": {"train.lr": 0.002, "strategy.replay.share": 0.0},
        "german": {"train.lr": 0.002, "strategy.replay.share": 0.0},
    }
    (found,) = chosen(toy(tmp_path, {"margin": 0.06, "trials": 4}), fake := Fake())
    assert found.by_task["german"] == {"train.lr": 0.002, "strategy.replay.share": 0.1}
    first, second, third = (plan for plan, _ in fake.asked)  # nothing is held while English is learned: no decay
    assert (first.tasks, second.tasks, third.tasks) == (["english"], ["english", "german"], ["english", "german"])
    assert (first.objectives, third.objectives) == (["learned_nll/1"], ["learned_nll/2"])
    assert (list(second.space), list(third.space)) == (["train.lr"], ["strategy.replay.share"])
    assert [plan.raw["strategy"]["replay"]["share"] for plan in (first, second)] == [0.0, 0.0]
    assert third.raw["train"]["lr"] == 0.002
    assert second.raw["by_task"] == third.raw["by_task"] == {"english": found.by_task["english"]}


@pytest.mark.slow
def test_no_study_looks_beyond_the_task_that_comes_or_at_a_test_split(tmp_path: Path) -> None:
    fake = Fake()
    folder = toy(tmp_path, {})
    chosen(folder, fake)
    for plan, _ in fake.asked:
        with contextlib.chdir(folder):
            (run,) = planner.build(loading.parse(plan.experiment({}))).runs
        assert [stage.stage.name for stage in run.stages] == plan.tasks
        for row in run.rows.values():
            assert evaluated(row).split == "validation"
            assert set(evaluated(row).sets) <= set(plan.tasks)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("--tune.objectives=[mft_nll]", "tune.objectives: per_task always uses the score or loss of the arriving task"),
        ("--tune.decay=1", "tune: decay 1.0 must be between 0 and 1"),
        ("--train.batch={value: 4, low: 2, high: 8}", "train.batch: is not chosen for a task by its own loss"),
        ("--by_task.german.train.lr=1e-3", "by_task: the protocol per_task sets it"),
        (
            "--strategies={lora_ewc: {ewc: {gamma: {value: 0.9, low: 0.1, high: 1.0}}}}",
            "strategies.lora_ewc.ewc.gamma: changes the memory of a task",
        ),
        (
            "--strategies={lora_incremental: {lora: {r: {value: 8, low: 2, high: 16}}}}",
            "lora makes the stream, the data or the evaluated model",
        ),
    ],
)
def test_what_cannot_be_tuned_so_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str, words: str
) -> None:
    with contextlib.chdir(toy(tmp_path, {})):
        assert cli.main(["tune", "toyexp.yaml", setting]) == 2
    assert words in capsys.readouterr().err


def test_an_interrupted_try_is_tried_again_and_what_waits_is_not_taken_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Left by a killed search: a try that failed without an error of its own, and one that waits."""
    study = optuna.create_study()
    study.enqueue_trial({"w": 0.5})
    study.optimize(lambda trial: trial.suggest_float("w", 0, 1) * math.nan, n_trials=1)  # FAIL, as after Ctrl-C
    study.enqueue_trial({"w": 0.25})
    ran: list[float] = []

    def run_trial(trial: optuna.Trial, asked: Any, values: dict[str, Any], log: Path, workers: int) -> list[float]:
        ran.append(values["w"])
        return [1 + values["w"]]

    monkeypatch.setattr(tuning, "run_trial", run_trial)
    plan = StudyPlan("l", ["t"], ["t"], ["learned_nll/1"], {"w": Range("w", 0.5, 0.0, 1.0)}, {"name": "n"}, [])
    with contextlib.chdir(toy(tmp_path, {})):
        whole = loading.load("toyexp.yaml")
    tries = [{"w": 0.5}, {"w": 0.25}, {"w": 0.0}]
    found = tuning.follow(plan, study, whole, tmp_path / "logs", lambda study: None, tries, lambda value: value < 1.6)
    assert found.params == {"w": 0.5}
    assert ran == [0.25, 0.5]  # what waited was run first, and is kept for its turn
    found = tuning.follow(plan, study, whole, tmp_path / "logs", lambda study: None, tries, lambda value: value < 1.1)
    assert (found.params, ran) == ({"w": 0.0}, [0.25, 0.5, 0.0])


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_what_was_chosen_is_what_was_tried(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The run with the chosen values stands on the very nodes of the chosen trials: it trains nothing."""
    folder = toy(tmp_path, {"trials": 2, "margin": 0.5})
    with contextlib.chdir(folder):
        assert cli.main(["tune", "toyexp.yaml", "--tracking.uri=none"]) == 0
        tuned = yaml.safe_load(Path("results/toyexp/tuned.yaml").read_text())
        values = tuned["values"]["rewarm_replay"]["english > german"]["by_task"]
        assert values["german"]["strategy.replay.share"] == 0.5  # the most stable: half of the loss would be allowed
        studies = json.loads(Path("results/toyexp/tuning.json").read_text())
        assert [len(study["trials"]) for study in studies] == [2, 2, 1]
        command = ["run", "toyexp.yaml", "--tracking.uri=none", "--tuned=results/toyexp/tuned.yaml"]
        assert cli.main(command) == 0
        result = json.loads(Path("results/toyexp/results.json").read_text())
        assert (result["asked"], result["executed"]) == (2, 0)
        assert "hyperparameters chosen by per_task: for each task as it comes" in capsys.readouterr().out
        assert cli.main([*command, "--train.lr=1e-3"]) == 2
        assert "--train.lr: is also set by tuned: results/toyexp/tuned.yaml" in capsys.readouterr().err
        again = ["tune", "toyexp.yaml", "--tracking.uri=none"]
        assert cli.main(again) == 0  # all trials are there
        assert json.loads(Path("results/toyexp/tuning.json").read_text()) == studies
