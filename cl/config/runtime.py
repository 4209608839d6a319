"""Settings of the cluster and of tracking. No node key depends on these settings."""

from __future__ import annotations

import importlib.metadata
import os
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from cl.errors import UserError
from cl.plain_values import require_between
from cl.redaction import redacted

DATABASES = ("sqlite", "postgresql", "mysql", "mssql")  # those of MLflow (mlflow.store.db.db_types)


@dataclass(frozen=True)
class Cluster:
    """Resources of the launchers `ray` and `slurm`.

    Args:
        address: address of a running Ray cluster: `auto` or HOST:PORT; by default a cluster is started on this machine
            and ends with the command.
        workers: nodes executed at a time on a Ray cluster that is started here; by default the number of cores.
        cpus: cores and threads of each process of a node. On one kind of machine a result equals, bit for bit, the
            result of the local launcher with as many threads.
        retries: how often a node is computed again after its worker died, or its job was preempted or ran out of time.
        minutes: time limit of a Slurm job, in minutes.
        slurm: further options of Slurm under submitit's names: `partition`, `account`, `qos`, `mem`, `constraint`,
            `setup`, `additional_parameters` ...
    """

    address: str | None = None
    workers: int | None = None
    cpus: int = 1
    retries: int = 3
    minutes: int = 24 * 60
    slurm: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_between(self, "cluster", workers=(1, 10**5), cpus=(1, 10**4), retries=(0, 10**4), minutes=(1, 10**7))
        if self.workers is not None and self.address is not None:
            raise UserError(f"cluster.workers: {self.workers} has no effect on a cluster with an address; remove it")


@dataclass(frozen=True)
class Tracking:
    """Where runs are logged.

    Args:
        uri: MLflow tracking URI; by default a SQLite file in the store; `none` switches tracking off.
    """

    uri: str | None = None

    def __post_init__(self) -> None:
        if self.uri not in (None, "none") and (problem := problem_of(self.uri)):
            raise UserError(f"tracking.uri: {redacted(self.uri)!r} {problem}")


def problem_of(uri: str) -> str:
    """Why MLflow cannot use a tracking URI, with the remedy; empty if nothing is known against it.

    Nothing is connected: a server may be away now and there later.
    """
    scheme, separated, _ = uri.partition("://")
    plugins = {point.name for point in importlib.metadata.entry_points(group="mlflow.tracking_store")}
    if uri == "databricks" or (separated and scheme in {"databricks", *plugins}):
        return ""
    if separated and scheme in ("http", "https"):
        return _problem_of_server(uri)
    if separated and scheme.partition("+")[0] in DATABASES:
        return "" if scheme == "sqlite" else _problem_of_driver(uri)
    if scheme == "file" or (uri and ":" not in uri.partition("/")[0]):
        allowed = os.environ.get("MLFLOW_ALLOW_FILE_STORE", "").lower() in ("true", "1")
        return "" if allowed else "is a folder, in which MLflow stores no runs any more; write sqlite:///FILE.db"
    known = "http://HOST:PORT, https://HOST, sqlite:///FILE.db, the URL of another database, or none"
    return f"is no tracking URI of MLflow; write {known}"


def _problem_of_server(uri: str) -> str:
    """Why the URL of a server cannot be used."""
    try:
        parts = urlsplit(uri)
        found = bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        found = False
    return "" if found else "names no server; write http://HOST:PORT, with / : ? # @ and % of a password as %2F %3A …"


def _problem_of_driver(uri: str) -> str:
    """Why the URL of a database cannot be used: its driver is not installed, or it is no URL."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        make_url(uri).get_dialect().import_dbapi()
    except ImportError as error:
        return f"needs the package {error.name}; install it, or name another driver as in postgresql+psycopg://"
    except (ArgumentError, ValueError) as error:
        return f"is no URL of a database ({redacted(str(error))}); write DATABASE+DRIVER://USER@HOST/NAME"
    return ""
