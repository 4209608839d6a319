"""What is wrong with stored nodes, and how a damaged one gets out of the way."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from cl.errors import UserError
from cl.execution.records import DamageError, Record
from cl.execution.store import MARK, RECORD, Store, differing
from cl.redaction import redacted


def check_is_store(store: Store) -> None:
    """Raises UserError for a folder that is no store, so that nothing in it is listed or deleted."""
    if store.fs.exists(f"{store.root}/{MARK}"):
        return
    if not store.fs.isdir(store.root):
        remedy = "`cl run` makes one, --store=FOLDER names another"
        raise UserError(f"store: there is no store at {redacted(store.url)!r}; {remedy}")
    if not any(store.read_or_none(key) for key in store.folders()):  # as earlier versions made them
        raise UserError(f"store: {redacted(store.url)!r} is no store: it has no {MARK}; name another by --store=FOLDER")


def verify(store: Store, key: str) -> list[str]:
    """What is wrong with a node: its record, and files that are missing, changed or not its own."""
    try:
        record = store.read(key)
    except FileNotFoundError:
        return [f"{RECORD} is missing: deleted, or not published to the end"]
    except DamageError as error:
        return error.wrong
    if store.is_local:
        return differing(Path(store.root) / "nodes" / record.key, record)
    there = set(store.files(record.key))
    wrong = [f"{name} is missing" for name in record.files if name not in there]
    wrong += [f"{name} is changed" for name in record.files if name in there and not _matches(store, record, name)]
    return wrong + [f"{name} does not belong to it" for name in sorted(there - record.files.keys() - {RECORD})]


def _matches(store: Store, record: Record, name: str) -> bool:
    with store.fs.open(f"{store.root}/nodes/{record.key}/{name}", "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == record.files[name]["sha256"]


def set_aside(store: Store, key: str) -> str | None:
    """Move a damaged node out of the way, so that it is computed again; return its new place.

    None: another process has done so.
    """
    place, aside = f"{store.root}/nodes/{key}", f"{store.root}/damaged/{key}-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    with store.lock(key, lambda: None):
        if not store.fs.exists(place) or not verify(store, key):
            return None
        store.fs.makedirs(f"{store.root}/damaged", exist_ok=True)
        store.fs.mv(place, aside, recursive=True)
    store.whole.discard(key)
    return aside
