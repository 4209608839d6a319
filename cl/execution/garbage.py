"""Garbage collection of a store: nodes and scratch folders that no experiment needs."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

from filelock import FileLock, Timeout

from cl.errors import UserError
from cl.execution.store import RECORD, Store


def find(store: Store, dropped: Iterable[str] = ()) -> list[str]:
    """Keys of nodes, complete or partial, that no experiment needs.

    Args:
        store: the store.
        dropped: experiments whose nodes are no longer needed.

    Raises:
        UserError: for an experiment in `dropped` that the store does not know.
    """
    roots, dropped = store.roots(), set(dropped)
    if unknown := dropped - set(roots):
        raise UserError(f"drop: no experiment {sorted(unknown)} in this store; it has {sorted(roots) or 'none'}")
    kept = {key for name, keys in roots.items() if name not in dropped for key in keys}
    kept |= {declared.of for key, declared in store.declarations.all().items() if key in kept}
    return [key for key in store.folders() if key not in kept]


def delete(store: Store, dropped: Iterable[str] = ()) -> int:
    """Delete the nodes that `find` lists, the roots of dropped experiments, and scratch folders that are not needed.

    Returns:
        Number of bytes freed.
    """
    freed = 0
    for key in find(store, dropped):
        freed += store.size(key)
        place = f"{store.root}/nodes/{key}"
        if store.fs.exists(f"{place}/{RECORD}"):
            store.fs.rm_file(f"{place}/{RECORD}")  # first, so that no reader takes a partial node for a complete one
        store.fs.rm(place, recursive=True)
        if not store.is_local:
            shutil.rmtree(store.scratch / "nodes" / key, ignore_errors=True)
            (store.scratch / "nodes" / f"{key}.lock").unlink(missing_ok=True)
    for name in dropped:
        store.fs.rm_file(f"{store.root}/roots/{name}.json")
    return freed + _delete_scratch(store)


def _delete_scratch(store: Store) -> int:
    """Delete scratch folders of nodes that are stored or not needed, unless a process holds their lock."""
    unfinished = {key for keys in store.roots().values() for key in keys} - set(store.keys())
    freed = 0
    for path in (store.scratch / "work").glob("*.lock"):
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        folder = path.with_suffix("")
        if folder.name not in unfinished:
            freed += sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
            shutil.rmtree(folder, ignore_errors=True)
            path.unlink()
        lock.release()
    return freed
