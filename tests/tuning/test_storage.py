"""Where studies are kept: shared without a race, and printed without a password."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest

from cl import cli
from cl.tuning import storage as study_storage
from tests.support.tuning import toy


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with Study.optimize")
def test_a_waiting_trial_is_taken_up_once(tmp_path: Path) -> None:
    study = optuna.create_study(storage=study_storage.opened(None, tmp_path))
    for number in range(30):
        study.enqueue_trial({"x": number})
    with ThreadPoolExecutor(4) as pool:
        asked = list(pool.map(lambda _: study.ask().number, range(30)))
    assert sorted(asked) == list(range(30))


def test_a_password_is_not_shown() -> None:
    assert (
        study_storage.without_password("postgresql+psycopg://me:secret@host/db")
        == "postgresql+psycopg://me:***@host/db"
    )


def test_a_storage_that_is_not_there_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy(tmp_path, {"protocol": "first_k"})
    with contextlib.chdir(tmp_path):
        assert cli.main(["tune", "toyexp.yaml", "--tune.storage=sqlite:////nowhere/at/all.db"]) == 2
    error = capsys.readouterr().err
    assert "tune.storage: sqlite:////nowhere/at/all.db cannot be opened" in error
    assert error.count("\n") == 1
