"""Database of studies: Optuna's, by default SQLite in the store, with a lock that SQLite lacks."""

from __future__ import annotations

import contextlib
import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock
from optuna.trial import TrialState
from sqlalchemy import URL, make_url

from cl.errors import UserError
from cl.redaction import redacted

HEARTBEAT, GRACE = 5, 20
"""Seconds between heartbeats of a trial, and seconds without one after which another process repeats the trial."""


class Storage(optuna.storages.RDBStorage):
    """Optuna's database storage, in which each waiting trial is started by one worker only.

    Optuna reads that a trial waits and then writes that it runs, which is safe if the database can lock rows. SQLite
    cannot: of 30 waiting trials four threads started some twice, and the second to finish raised an error.

    Args:
        url: URL of SQLAlchemy.
        lock: lock file, shared by all processes that use the database.
        settings: settings of Optuna's RDBStorage.
    """

    def __init__(self, url: str, lock: Path, **settings: Any) -> None:
        self.lock = lock
        super().__init__(url, **settings)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """Set a trial's state as Optuna does, one process at a time."""
        with FileLock(self.lock):
            return super().set_trial_state_values(trial_id, state, values)


def opened(url: str | None, scratch: Path) -> Storage:
    """The database, created if it is new.

    Args:
        url: URL of SQLAlchemy; None for SQLite in `scratch`. For `postgresql://` the driver is that of `cl[postgres]`.
        scratch: folder of the default database and of the lock file.

    Raises:
        UserError: the database cannot be opened.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    file = URL.create("sqlite", database=str(scratch.resolve() / "optuna.db"))  # a path may hold ? and %
    url = url or file.render_as_string()
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
    waits = {"connect_args": {"timeout": 100}} if url.startswith("sqlite") else {}
    with experimental():  # heartbeats
        retry = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=3)
        beats: dict[str, Any] = {"heartbeat_interval": HEARTBEAT, "grace_period": GRACE}
        try:
            return Storage(
                url, scratch / "trials.lock", engine_kwargs=waits, heartbeat_stale_trial_callback=retry, **beats
            )
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            raise UserError(redacted(f"tune.storage: {url} cannot be opened: {reason}")) from error


@contextlib.contextmanager
def experimental() -> Iterator[None]:
    """Silence Optuna's warnings about features that have long been experimental and have no alternative."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def without_password(url: str) -> str:
    """A database's URL without its password."""
    return make_url(url).render_as_string(hide_password=True)
