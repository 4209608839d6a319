"""Where studies are kept: Optuna's database, by default SQLite in the store, with a lock that SQLite lacks."""

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
from sqlalchemy import make_url

from cl.errors import UserError

HEARTBEAT, GRACE = 5, 20
"""Seconds between signs of life of a trial, and without one until another process takes it up again."""


class Storage(optuna.storages.RDBStorage):
    """Optuna's, where one waiting trial is taken up by one worker.

    Optuna reads that a trial waits and then says that it runs, which is safe where rows can be locked. SQLite has no
    such lock: of 30 waiting trials four threads took up some twice, and the second to finish raised an error.
    """

    def __init__(self, url: str, lock: Path, **settings: Any) -> None:
        self.lock = lock
        super().__init__(url, **settings)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """As Optuna has it, one at a time among all that share the lock's file."""
        with FileLock(self.lock):
            return super().set_trial_state_values(trial_id, state, values)


def opened(url: str | None, scratch: Path) -> Storage:
    """The database, made where it is new. Raises UserError where it cannot be opened.

    url: of SQLAlchemy; None: SQLite in `scratch`. `postgresql://` is read with the driver that `cl[postgres]` installs.
    """
    scratch.mkdir(parents=True, exist_ok=True)
    url = url or f"sqlite:///{scratch.resolve()}/optuna.db"
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
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"tune.storage: {shown(url)} cannot be opened: {type(error).__name__}: {reason}") from error


@contextlib.contextmanager
def experimental() -> Iterator[None]:
    """Use what Optuna calls experimental for years and has no other way for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def shown(url: str) -> str:
    """A database's URL without its password."""
    return make_url(url).render_as_string(hide_password=True)
