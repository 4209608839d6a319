"""Settings of tracking, checked while planning; those of the cluster are refused in test_loading.py."""

from __future__ import annotations

import pytest

from cl.config.runtime import Tracking
from cl.errors import UserError


@pytest.mark.parametrize(
    "uri",
    [
        None,
        "none",
        "http://localhost:5000",
        "https://me:geheim@host/mlflow",
        "sqlite:///mlflow.db",
        "sqlite+pysqlite:////a/st%3Fore/mlflow.db",
        "postgresql+psycopg://me:geheim@host/db",
        "databricks",
        "databricks://profile",
    ],
)
def test_a_uri_of_mlflow_is_taken(uri: str | None) -> None:
    assert Tracking(uri).uri == uri


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "ftp://me:geheim@host",
            "tracking.uri: 'ftp://me:***@host' is no tracking URI of MLflow; write http://HOST:PORT",
        ),
        ("localhost:5000", "'localhost:5000' is no tracking URI"),
        ("", "'' is no tracking URI"),
        ("htp://host", "is no tracking URI"),
        ("http:/host", "is no tracking URI"),
        ("http://", "names no server"),
        ("http://:5000", "names no server"),
        ("http://host:port", "names no server"),
        ("http://me:ge#heim@host", "'http://me:***@host' names no server"),
        ("oracle://me:geheim@host/db", "'oracle://me:***@host/db' is no tracking URI"),
        ("postgresql+nodriver://me:geheim@host/db", "is no URL of a database"),
        ("mysql+mysqldb://me:geheim@host/db", "needs the package MySQLdb; install it"),
        ("mlruns", "is a folder"),
        ("./mlruns", "is a folder"),
        ("file:///tmp/mlruns", "is a folder"),
    ],
)
def test_another_uri_is_refused_while_planning(uri: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        Tracking(uri)
    assert message in str(error.value)
    assert "heim" not in str(error.value)
    assert "\n" not in str(error.value)


def test_a_folder_is_taken_where_mlflow_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    assert Tracking("mlruns").uri == "mlruns"
