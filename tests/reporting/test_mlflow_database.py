"""MLflow's file: where it is, and whether it can be written."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url

from cl.reporting.mlflow_database import default_place, file_of, prepare, uri_of

# MLflow's own calls of what its dependencies deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize("name", ["store", "a b", "st?ore", "st#o%41re", "a@b:c", "ä"])
def test_a_uri_names_the_file_whatever_its_path(name: str, tmp_path: Path) -> None:
    file = tmp_path / name / "mlflow.db"
    assert make_url(uri_of(file)).database == str(file)
    assert file_of(uri_of(file)) == file
    assert default_place(tmp_path / name)[0] == uri_of(file)


def test_a_plain_path_gives_the_uri_that_users_write() -> None:
    assert uri_of(Path("/home/me/store/mlflow.db")) == "sqlite:////home/me/store/mlflow.db"


@pytest.mark.parametrize(
    ("uri", "file"),
    [
        ("sqlite:///a/b.db", Path("a/b.db")),
        ("sqlite:////a/b.db?timeout=3", Path("/a/b.db")),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("sqlite:///file:a.db?uri=true", None),
        ("http://localhost:5000", None),
        ("postgresql://host/db", None),
    ],
)
def test_other_places_are_no_file(uri: str, file: Path | None) -> None:
    assert file_of(uri) == file


def test_a_file_that_cannot_be_written_is_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no database" * 1000)
    began = time.monotonic()
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        prepare(uri_of(tmp_path / "text"))
    with pytest.raises(OSError, match="text"):
        prepare(uri_of(tmp_path / "text" / "mlflow.db"))
    assert time.monotonic() - began < 2
    prepare("http://localhost:5000")  # not a file of ours


@pytest.mark.slow
def test_a_database_is_there_complete_or_not_at_all(tmp_path: Path, monkeypatch: Any) -> None:
    from mlflow import MlflowClient

    class Interrupted(BaseException):
        """As a kill would be: nothing in the way catches it."""

    def stop(*_: Any) -> None:
        raise Interrupted

    file = tmp_path / "store" / "mlflow.db"
    with monkeypatch.context() as patch:
        patch.setattr("os.link", stop)
        with pytest.raises(Interrupted):
            prepare(uri_of(file))
    assert not file.exists()
    prepare(uri_of(file))
    assert [found.name for found in MlflowClient(f"sqlite:///{file}").search_experiments()] == ["Default"]
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]
    prepare(uri_of(file))  # who comes second changes nothing
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]
