"""The node: one pure step of an experiment, addressed by a hash of everything that can change its result.

    base model ──train(task 1)──▶ state ──consolidate──▶ memory ──train(task 2)──▶ state …
                      └──evaluate(every task, every retain set)──▶ row of R

A key covers

- the node's kind and specification;
- the keys of its parents;
- the versions of the libraries that compute the node;
- the definitions of this project and of the user that its step can execute.

Settings that cannot change the result are not in the key: checkpoint cadence, evaluation inside a stage, tracking,
display. Hardware and thread count are recorded with the result; bit-equality is promised on one machine only.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, TypedDict

from cl.graph.code_version import code_version
from cl.graph.kinds import KINDS, Kind
from cl.graph.roles import Role
from cl.graph.spec_json import to_json
from cl.graph.specs import Local, Spec
from cl.hashing import digest


class Identity(TypedDict):
    """All that can change a node's result; the key is its hash. Stored with the result, to explain differences."""

    kind: str
    spec: dict[str, Any]  # JSON form of the specification
    parents: dict[str, str]  # key by role
    libraries: dict[str, str]  # version by name
    code: str  # code version


@dataclass(frozen=True, eq=False)
class Node:
    """One step of the graph.

    Args:
        name: name for display; not in the key.
        spec: all settings that can change the result.
        parents: nodes whose results the step reads, by role.
        code: `module:Class` of each class that the step builds by name: methods, sources, probes.
        cost: tokens that are trained or evaluated; not in the key.
        needs: artifacts that children read, such as "optimizer.safetensors"; not in the key.
        uses: data nodes that evaluation inside a stage reads, by name; not in the key.
        local: settings that are needed at run time and cannot change the result; not in the key.
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
        """The row of the node's kind in `cl.graph.kinds`."""
        return KINDS[self.kind]

    @property
    def entries(self) -> tuple[str, ...]:
        """Entries of the code version: the step, and the classes that it builds by name."""
        return (f"{self.how.step}:run", *self.code)

    @property
    def identity(self) -> Identity:
        """The data that the key is the hash of."""
        return {
            "kind": self.kind,
            "spec": to_json(self.spec),
            "parents": {str(role): parent.key for role, parent in self.parents.items()},
            "libraries": _versions(self.how.libraries),
            "code": code_version(self.entries, f"release:{self.kind}-{self.how.version}"),
        }

    @property
    def processes(self) -> int:
        """Number of processes of a machine that compute the node together, each on its own device."""
        return self.local.devices if self.kind == "train" and self.local is not None else 1

    @property
    def machines(self) -> int:
        """Number of machines that compute the node together."""
        return self.local.machines if self.kind == "train" and self.local is not None else 1

    @property
    def gpus(self) -> int:
        """Number of GPUs of a machine that the node needs."""
        return self.processes if self.spec.device == "cuda" else 0

    @cached_property
    def key(self) -> str:
        """Hexadecimal content address."""
        return digest(self.identity)


@lru_cache
def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Installed version of each package."""
    return {name: importlib.metadata.version(name) for name in packages}


def ancestors(nodes: Iterable[Node]) -> list[Node]:
    """All ancestors of `nodes`, including `nodes`, parents before children, each key once.

    Of several nodes with one key, the node with the most `needs` is returned.
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

    for node in (nodes := list(nodes)):  # kept in a list: ids are unique only among living objects
        visit(node)
    return list(found.values())
