"""The node: one pure step of an experiment, named by a hash of all that can change its result.

    base model ──train(task 1)──▶ state ──consolidate──▶ memory ──train(task 2)──▶ state …
                      └──evaluate(every task, every retain set)──▶ row of R

A key covers the node's kind, its specification (settings, seed, resolved precision), the keys of its parents,
the versions of the libraries that compute it and the sources of ours that it executes. What cannot change the
result (checkpoint cadence, in-task evaluation, tracking, display) is not in it. Hardware and thread count are
not settings: they are recorded with the result, and bit-equality is promised on one machine only.
"""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from cl.graph import code_version as sources
from cl.graph.kinds import LIBRARIES, MODULES
from cl.hashing import digest


@dataclass(frozen=True)
class Node:
    """One step of the graph.

    kind: tokenizer, data, base, teacher, select, train, consolidate, merge, evaluate, trace, grid or order; name: for
    people; spec: JSON data with all settings that can change the result; parents: by role; extra_sources: our modules
    that this node executes beyond those that its kind imports (its methods). Not in the key: cost (training or
    evaluation tokens); needs (artifacts that children read, e.g. "optimizer.safetensors"); uses (nodes that are read
    for looking only); local (settings that cannot change the result).
    """

    kind: str
    name: str
    spec: Mapping[str, Any]
    parents: Mapping[str, Node] = field(default_factory=dict)
    extra_sources: tuple[str, ...] = ()
    cost: int = 0
    needs: frozenset[str] = frozenset()
    uses: Mapping[str, Node] = field(default_factory=dict)
    local: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def identity(self) -> dict[str, Any]:
        """The data that is hashed, stored beside the result so that a difference of keys can be explained."""
        return {
            "kind": self.kind,
            "spec": self.spec,
            "parents": {role: parent.key for role, parent in sorted(self.parents.items())},
            "libraries": {name: _version(name) for name in LIBRARIES[self.kind]},
            "code": code_version((MODULES[self.kind], *self.extra_sources)),
        }

    @property
    def processes(self) -> int:
        """How many compute it together, each on a device of its own."""
        return int(self.local.get("devices", 1)) if self.kind == "train" else 1

    @property
    def gpus(self) -> int:
        """GPUs that computing it needs."""
        devices = [self.spec.get("device"), *(stage["device"] for stage in self.spec.get("stages", ()))]
        return self.processes if "cuda" in devices else 0

    @cached_property
    def key(self) -> str:
        """Hexadecimal content address."""
        return digest(self.identity)


def code_version(modules: Iterable[str]) -> str:
    """What stands for the code of `modules` in a key.

    In a development checkout the hash of all sources that they execute; in an installed release its version
    and the hash of the user's own modules. The environment variable CL_CODE_VERSION overrides both; the
    override is stored with each node.
    """
    override = os.environ.get("CL_CODE_VERSION")
    if override:
        return f"override:{override}"
    if sources.is_checkout():
        return sources.fingerprint(modules)
    users = [name for name in modules if name.split(".")[0] not in sources.PACKAGES]
    return f"release:{_version('cl')}" + (f"+{sources.fingerprint(users)}" if users else "")


@lru_cache
def _version(package: str) -> str:
    return importlib.metadata.version(package)


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
