"""MLflow's database in a SQLite file: its URI, and its tables."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from sqlalchemy import URL, make_url


def default_place(home: Path) -> tuple[str, str]:
    """Tracking URI of the SQLite file in a folder, and the location of artifacts beside it."""
    home = home.resolve()
    return uri_of(home / "mlflow.db"), (home / "mlflow-artifacts").as_uri()


def uri_of(file: Path) -> str:
    """URI of a SQLite file, quoted where its path needs it."""
    quoted = URL.create("sqlite", database=str(file)).render_as_string(hide_password=False)
    # MLflow makes the folders of a path after `sqlite:///`, without decoding it.
    return quoted.replace("sqlite:", "sqlite+pysqlite:", 1) if "%" in quoted else quoted


def file_of(uri: str) -> Path | None:
    """The file of a URI; None for other databases and servers, and for SQLite in memory."""
    path = make_url(uri).database if uri.startswith("sqlite") else None
    return None if not path or path.startswith((":memory:", "file:")) else Path(path)


def prepare(uri: str) -> None:
    """Make the tables of a new SQLite file, and see whether the file can be written; nothing for other URIs.

    Raises:
        OSError: the folder cannot be written.
        sqlite3.Error: the file cannot be written, or is no database. MLflow itself would try for 100 seconds.
    """
    file = file_of(uri)
    if file is None:
        return
    if not file.exists():
        _make(file)
    with closing(sqlite3.connect(file)) as database:
        database.execute("BEGIN IMMEDIATE")


def _make(file: Path) -> None:
    """Make a file with MLflow's tables, which appears complete or not at all: half of it could never be opened."""
    from mlflow import MlflowClient

    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".mlflow-") as folder:
        new = Path(folder) / file.name
        MlflowClient(uri_of(new)).search_experiments(max_results=1)
        try:
            os.link(new, file)
        except FileExistsError:  # another process was faster
            pass
        except OSError:  # a file system without hard links
            new.replace(file)
