"""Accept that an edit of the code changed no result: stored nodes are found under their new keys.

A missing node qualifies if a stored node has the same kind, settings and libraries, the same or accepted parents, and
other code. The declaration is kept in the store with the user, the time and the definitions that differ. Reports print
it, and revoking it undoes it. No artifact is changed.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from cl.execution.differences import code_differences
from cl.execution.records import Declaration
from cl.execution.store import Store
from cl.graph.node import Identity, Node
from cl.hashing import digest


@dataclass(frozen=True)
class Accepted:
    """A missing node and a stored node that differs from it in code alone.

    Args:
        node: the missing node.
        of: key of the stored node.
        stored_code: code version of the stored node.
        definitions: names of the definitions that differ.
    """

    node: Node
    of: str
    stored_code: str
    definitions: tuple[str, ...]


def acceptable(nodes: Iterable[Node], store: Store) -> list[Accepted]:
    """Missing nodes for which a stored node differs in code alone.

    Args:
        nodes: all nodes of a graph, parents before children.
        store: the store.
    """
    standing = {key: before.of for key, before in store.declarations.all().items()}
    records = sorted(store.records(), key=lambda record: record.created)
    known = {_without_code(record.identity, standing): record for record in records}
    found: list[Accepted] = []
    for node in nodes:
        if store.has(node):
            continue
        record = known.get(_without_code(node.identity, standing))
        if record is None or not node.needs <= set(record.artifacts):
            continue
        standing[node.key] = record.key
        code = record.identity["code"]
        names = [difference.name for difference in code_differences(code, node, store)]
        found.append(Accepted(node, record.key, code, tuple(names)))
    return found


def _without_code(identity: Identity, standing: dict[str, str]) -> str:
    """Hash of an identity without its code version, with accepted parents under their stored keys."""
    parents = {role: standing.get(key, key) for role, key in identity["parents"].items()}
    return digest({**identity, "code": None, "parents": parents})


def declare(found: Iterable[Accepted], store: Store) -> None:
    """Declare in the store that the missing nodes have the results of the stored nodes."""
    who, when = f"{getpass.getuser()}@{socket.gethostname()}", datetime.now(UTC).isoformat(timespec="seconds")
    for each in found:
        node, definitions = each.node, list(each.definitions)
        declaration = Declaration(
            each.of, node.name, node.kind, each.stored_code, node.identity["code"], definitions, who, when
        )
        store.declarations.add(node.key, declaration)


def declared(nodes: Iterable[Node], store: Store) -> dict[str, Declaration]:
    """The store's declarations about nodes of a graph, by key."""
    all_declared = store.declarations.all()
    return {node.key: all_declared[node.key] for node in nodes if node.key in all_declared}


def sentences(nodes: Iterable[Node], store: Store) -> list[str]:
    """Notes for reports: nodes that other code computed, and who declared that the edit changed no result."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    following = 0  # nodes whose own code is the same, on accepted parents
    for each in declared(nodes, store).values():
        if each.definitions:
            group = (each.who, each.when[:10], tuple(each.definitions))
            groups.setdefault(group, []).append(f"{each.kind} {each.name}")
        else:
            following += 1
    found = [
        f"{len(names)} nodes were computed by other code ({_few(definitions, 4)}); accepted as equal by {who} on "
        f"{when}: {_few(names, 3)}"
        for (who, when, definitions), names in groups.items()
    ]
    return [*found, f"{following} nodes have accepted ancestors"] if following else found


def _few(names: Sequence[str], most: int) -> str:
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")
