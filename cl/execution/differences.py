"""Why a node is not stored: the parts of its identity that differ from the nearest stored node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from cl.config.nested import flat
from cl.execution.records import Record
from cl.execution.store import Store
from cl.graph.code_version import by_definition
from cl.graph.node import Node

Part = Literal["setting", "parent", "library", "code"]
ABSENT = "–"


@dataclass(frozen=True)
class Difference:
    """One difference between the identities of a stored and a missing node.

    Args:
        part: part of the identity.
        name: dotted key of a setting, role of a parent, name of a library, or `module:definition`.
        stored: value in the stored node.
        wanted: value in the missing node.
    """

    part: Part
    name: str
    stored: str
    wanted: str


@dataclass(frozen=True)
class Explanation:
    """Why a node is missing.

    Args:
        node: the missing node.
        nearest: key of the stored node with the fewest differences. None: no node of this kind is stored.
        name: name of the stored node.
        differences: all differences from the stored node.
    """

    node: Node
    nearest: str | None
    name: str
    differences: tuple[Difference, ...]


def explain(missing: Iterable[Node], store: Store) -> list[Explanation]:
    """Compare each missing node with the stored node of its kind that has the fewest differences.

    Among equally near nodes, one with the same name is preferred, then the newest.
    """
    stored: dict[str, list[Record]] = {}
    for record in store.records():
        stored.setdefault(record.identity["kind"], []).append(record)
    flattened = {id(record): _flat(record.identity) for records in stored.values() for record in records}
    return [_explained(node, stored.get(node.kind, []), flattened, store) for node in missing]


def _explained(node: Node, records: list[Record], flattened: Mapping[int, dict[str, Any]], store: Store) -> Explanation:
    """Compare one missing node with the stored nodes of its kind."""
    wanted = _flat(node.identity)

    def rank(record: Record) -> tuple[int, bool, str]:
        near = -len(_differing(flattened[id(record)], wanted))
        return near, record.name == node.name, record.created

    best = max(records, key=rank, default=None)
    if best is None:
        return Explanation(node, None, "", ())
    names = {str(role): parent.name for role, parent in node.parents.items()}
    found = flattened[id(best)]
    differences = [
        each
        for key in _differing(found, wanted)
        for each in _described(key, found.get(key, ABSENT), wanted.get(key, ABSENT), names, node, store)
    ]
    return Explanation(node, best.key, best.name, tuple(differences))


def _flat(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity as one mapping with dotted keys; lists are values."""
    return flat({part: value for part, value in identity.items() if part != "kind"})


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Keys with different values."""
    return [key for key in dict.fromkeys([*one, *other]) if one.get(key, ABSENT) != other.get(key, ABSENT)]


def _described(
    key: str, stored: Any, wanted: Any, names: Mapping[str, str], node: Node, store: Store
) -> list[Difference]:
    """The differences behind one key of a flattened identity."""
    part, _, rest = key.partition(".")
    if part == "code":
        return code_differences(str(stored), node, store)
    if part == "parents":
        return [Difference("parent", rest, str(stored)[:8], f"{str(wanted)[:8]} ({names.get(rest, 'none')})")]
    kind: dict[str, Part] = {"libraries": "library"}
    return [Difference(kind.get(part, "setting"), rest, str(stored), str(wanted))]


def code_differences(stored: str, node: Node, store: Store) -> list[Difference]:
    """The definitions that differ between a stored code version and the current code.

    If the store has no record of the stored version, the two versions are the only difference.
    """
    before, now = store.definitions(stored), by_definition(node.entries)
    if before is None:
        return [Difference("code", "version", stored, str(node.identity["code"]))]
    same: Callable[[str], bool] = lambda name: before.get(name) == now.get(name)  # noqa: E731
    changed = [name for name in dict.fromkeys([*before, *now]) if not same(name)]
    words = {name: _words(name, before, now) for name in changed}
    return [Difference("code", name, *words[name]) for name in changed]


def _words(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> tuple[str, str]:
    """Texts for a changed definition in the stored and in the current code."""
    if name not in before:
        return ABSENT, "added"
    return "removed" if name not in now else "as stored", ABSENT if name not in now else "edited"
