"""A store, a study and an MLflow database of an earlier version open in this one.

`earlier_store.tar.xz` was made before records had seals and stores a mark: five nodes of the toy experiment, what it
needs, its study of two trials and its tracked run.
"""

from __future__ import annotations

import tarfile
from pathlib import Path

import mlflow
import pytest

from cl import cli
from cl.execution import garbage
from cl.execution.store import MARK, Store
from cl.execution.verification import check_is_store, verify
from cl.tuning import storage

KINDS = ["base", "data", "evaluate", "tokenizer", "train"]


@pytest.fixture
def earlier(tmp_path: Path) -> Path:
    """The unpacked store."""
    with tarfile.open(Path(__file__).with_name("earlier_store.tar.xz")) as file:
        file.extractall(tmp_path / "store", filter="data")
    return tmp_path / "store"


def test_its_nodes_are_whole_and_kept(earlier: Path) -> None:
    store = Store(earlier)
    check_is_store(store)
    assert not (earlier / MARK).exists()
    assert sorted(record.identity["kind"] for record in store.records()) == KINDS
    assert [key for key in store.folders() if verify(store, key)] == []
    assert garbage.find(store) == []
    assert set(store.needed.all()[0]) == {"toyexp"}
    store.open_for_writing()
    assert (earlier / MARK).exists()


def test_it_is_listed(earlier: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(earlier.parent)
    assert cli.main(["store", "ls"]) == 0
    assert "5 nodes, " in capsys.readouterr().out
    assert cli.main(["store", "verify"]) == 0


def test_its_study_opens(earlier: Path) -> None:
    found = storage.opened(None, earlier)
    (study,) = found.get_all_studies()
    trials = found.get_all_trials(study._study_id)
    assert [trial.state.name for trial in trials] == ["COMPLETE", "COMPLETE"]
    assert all(trial.values is not None and "train.lr" in trial.params for trial in trials)


@pytest.mark.slow
def test_its_tracked_runs_open(earlier: Path) -> None:
    client = mlflow.MlflowClient(f"sqlite:///{earlier / 'mlflow.db'}")
    found = client.search_experiments(filter_string="name LIKE 'toyexp%'")
    runs = client.search_runs([each.experiment_id for each in found])
    assert any(run.data.metrics for run in runs)
