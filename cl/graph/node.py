"""The node: one pure step of an experiment, named by a hash of all that can change its result.

    base model ──train(task 1)──▶ state ──consolidate──▶ memory ──train(task 2)──▶ state …
                      └──evaluate(every task, every retain set)──▶ row of R

A key covers the node's kind, its specification, the keys of its parents, the versions of the libraries that compute it
and the definitions of ours that its step can execute. Nothing that cannot change the result is in the key: checkpoint
cadence, in-task evaluation, tracking, display. Hardware and thread count are recorded with the result; bit-equality is
promised on one machine only.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from cl.graph.code_version import code_version
from cl.graph.kinds import KINDS, Kind
from cl.graph.roles import Role
from cl.graph.specs import Local, Spec, to_json
from cl.hashing import digest


@dataclass(frozen=True, eq=False)
class Node:
    """One step of the graph.

    Args:
        name: for people.
        spec: all settings that can change the result.
        parents: nodes whose results are read, by role.
        code: `module:Class` of each class that the step builds by name: its methods, sources, probes.

    Not in the key:
        cost: tokens that are trained or evaluated.
        needs: artifacts that children read, such as "optimizer.safetensors".
        uses: data nodes that in-task evaluation reads, by name.
        local: settings that are needed at run time and cannot change the result.
    """

    name: str
    spec: Spec
    parents: Mapping[Role, Node] = field(default_factory=dict)
    code: tuple[str, ...] = ()
    cost: int = 0
    needs: frozenset[str] = frozenset()
    uses: Mapping[str, Node] = field(default_factory=dict)
    local: Local | None = None

    @property
    def kind(self) -> str:
        """Name of the kind of node."""
        return self.spec.kind

    @property
    def how(self) -> Kind:
        """How nodes of this kind are computed."""
        return KINDS[self.kind]

    @property
    def entries(self) -> tuple[str, ...]:
        """The definitions that computing the node starts from."""
        return (f"{self.how.step}:run", *self.code)

    @property
    def identity(self) -> dict[str, Any]:
        """The data that is hashed. It is stored with the result, so that a difference of keys can be explained."""
        return {
            "kind": self.kind,
            "spec": to_json(self.spec),
            "parents": {str(role): parent.key for role, parent in self.parents.items()},
            "libraries": _versions(self.how.libraries),
            "code": code_version(self.entries, f"release:{self.kind}-{self.how.version}"),
        }

    @property
    def processes(self) -> int:
        """Number of processes that compute the node together, each on its own device."""
        return self.local.devices if self.kind == "train" and self.local is not None else 1

    @property
    def gpus(self) -> int:
        """Number of GPUs that computing the node needs."""
        return self.processes if self.spec.device == "cuda" else 0

    @cached_property
    def key(self) -> str:
        """Hexadecimal content address."""
        return digest(self.identity)


@lru_cache
def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in packages}


def ancestors(nodes: Iterable[Node]) -> list[Node]:
    """All nodes that `nodes` stand on, themselves included, parents before children, each key once.

    Of several nodes with one key, the one whose children need most of it.
    """
    found: dict[str, Node] = {}
    seen: set[int] = set()

    def visit(node: Node) -> None:
        if id(node) in seen:
            return
        seen.add(id(node))
        for parent in (*node.parents.values(), *node.uses.values()):
            visit(parent)
        if node.key not in found or len(node.needs) > len(found[node.key].needs):
            found[node.key] = node

    for node in (nodes := list(nodes)):  # held: an id is unique only among living objects
        visit(node)
    return list(found.values())
