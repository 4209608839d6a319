"""Garbage collection of a store: nodes and scratch folders that no experiment needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from cl.errors import UserError
from cl.execution import verification
from cl.execution.store import RECORD, Store, is_key


def find(store: Store, dropped: Iterable[str] = ()) -> list[str]:
    """Keys of nodes, complete or partial, that no experiment needs.

    Args:
        store: the store.
        dropped: experiments whose nodes are no longer needed.

    Raises:
        UserError: for a folder that is no store, for an experiment in `dropped` that the store does not know, and for
            a damaged list of needed keys.
    """
    verification.check_is_store(store)
    kept = _kept(store, set(dropped))
    return [key for key in store.folders() if key not in kept]


def _kept(store: Store, dropped: set[str]) -> set[str]:
    """Keys that experiments need, with those that are accepted for them."""
    needed, damaged = store.needed.all()
    if damaged:
        raise UserError(
            f"store: {damaged[0]} is damaged, so that it is not known what is needed; delete it, and `cl run` its "
            "experiment again"
        )
    if unknown := dropped - set(needed):
        raise UserError(f"drop: no experiment {sorted(unknown)} in this store; it has {sorted(needed) or 'none'}")
    kept = {key for name, keys in needed.items() if name not in dropped for key in keys}
    return kept | {declared.of for key, declared in store.declarations.all().items() if key in kept}


def delete(store: Store, dropped: Iterable[str] = ()) -> int:
    """Delete the nodes that `find` lists, what dropped experiments need, and scratch folders that are not needed.

    Each node is judged again under its lock: an experiment may have been planned meanwhile.

    Returns:
        Number of bytes freed.
    """
    candidates, dropped = find(store, dropped), set(dropped)
    for name in dropped:
        store.needed.drop(name)
    freed = 0
    for key in candidates:
        with _free(store.scratch / "work" / f"{key}.lock") as free:
            if free and key not in _kept(store, set()):
                freed += _delete_node(store, key)
    return freed + _delete_scratch(store)


@contextmanager
def _free(path: Path) -> Iterator[bool]:
    """Context that holds a lock; yields False if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _delete_node(store: Store, key: str) -> int:
    """Delete a node's files and return their size in bytes."""
    size, place = store.size(key), f"{store.root}/nodes/{key}"
    if store.fs.exists(f"{place}/{RECORD}"):
        store.fs.rm_file(f"{place}/{RECORD}")  # first, so that no reader takes a partial node for a complete one
    store.fs.rm(place, recursive=True)
    if not store.is_local:
        shutil.rmtree(store.scratch / "nodes" / key, ignore_errors=True)
        (store.scratch / "nodes" / f"{key}.lock").unlink(missing_ok=True)
    return size


def _delete_scratch(store: Store) -> int:
    """Delete scratch folders of nodes that are stored or not needed, unless a process holds their lock."""
    unfinished = _kept(store, set()) - set(store.keys())
    freed = 0
    for path in (store.scratch / "work").glob("*.lock"):
        with _free(path) as free:
            folder = path.with_suffix("")
            if free and is_key(folder.name) and folder.name not in unfinished:
                freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
                shutil.rmtree(folder, ignore_errors=True)
                path.unlink()
    return freed
