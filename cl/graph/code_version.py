"""Code version in a node's key: a hash of all definitions that the node's step can execute, and of no others.

The definitions are found by following every reference from the step (`cl.graph.definitions`), without importing
anything. The hash numbers definitions in the order of their first reference, so that it depends on no name. The
analysis does not see data files and names that are computed at run time: a class that a step builds by name is listed
as an entry of its own.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from functools import cache, lru_cache

from cl.graph.definitions import definition
from cl.graph.source_files import BODY, Place, path_of, read, resolve

RELEASED = ("cl", "strategies", "scenarios")
"""Packages whose code a release replaces by result versions in keys."""


def code_version(entries: tuple[str, ...], released: str) -> str:
    """Code version of some definitions.

    Args:
        entries: `module:name` of each definition that a step starts from; `module` alone stands for the whole module.
        released: result version, used in an installed release.

    Returns:
        In a checkout, the hash of all definitions that the entries can execute. In a release, `released` and the hash
        of the user's own entries. The environment variable CL_CODE_VERSION overrides both; it is recorded with each
        node.
    """
    override = os.environ.get("CL_CODE_VERSION")
    if override:
        return f"override:{override}"
    if is_checkout():
        return fingerprint(entries)
    users = tuple(entry for entry in entries if entry.split(".")[0].split(":")[0] not in RELEASED)
    return released + (f"+{fingerprint(users)}" if users else "")


@lru_cache
def is_checkout() -> bool:
    """Whether `cl` is imported from a development checkout, not from an installed release."""
    return (path_of("cl").parents[1] / "pyproject.toml").is_file()


@cache
def fingerprint(entries: tuple[str, ...]) -> str:
    """Hash of all definitions that `entries` can execute, independent of their names and modules."""
    places = closure(entries)
    number = {place: at for at, place in enumerate(places)}
    total = hashlib.sha256()
    for place in places:
        found = definition(place)
        total.update(f"{found.text}\n{[number[other] for other in found.references]}\n".encode())
    return total.hexdigest()[:16]


@cache
def closure(entries: tuple[str, ...]) -> tuple[Place, ...]:
    """All definitions that `entries` can execute, in the order of their first reference.

    Raises:
        ModuleNotFoundError: for an entry of an unknown module.
        KeyError: for an unknown name.
    """
    found: dict[Place, None] = {}
    todo = [place for entry in reversed(entries) for place in reversed(_started(entry))]
    while todo:
        place = todo.pop()
        if place in found:
            continue
        found[place] = None
        todo += reversed(definition(place).references)
        if BODY in read(place[0]).statements:  # executed when the module is imported
            todo.append((place[0], BODY))
    return tuple(found)


def _started(entry: str) -> list[Place]:
    """The definitions of one entry."""
    module, _, name = entry.partition(":")
    if not name:
        return [(module, each) for each in read(module).statements]
    place = resolve(module, name.split(".")[0])
    if place is None:
        raise KeyError(f"{module} defines no {name}")
    return [place]


def by_definition(entries: tuple[str, ...]) -> dict[str, str]:
    """Hash of each definition that `entries` can execute, by `module:name`, to report which definitions differ."""
    hashes = {}
    for module, name in closure(entries):
        found = definition((module, name))
        text = f"{found.text}\n{[f'{m}:{n}' for m, n in found.references]}"
        hashes[f"{module}:{name}".rstrip(":")] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return hashes


def entry_of(cls: type) -> str:
    """The entry of a class."""
    return f"{cls.__module__}:{cls.__qualname__}"


def entries_of(classes: Iterable[type]) -> tuple[str, ...]:
    """The entries of classes, without duplicates."""
    return tuple(dict.fromkeys(map(entry_of, classes)))
