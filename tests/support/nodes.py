"""Nodes of free specifications, for tests that compute nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cl.graph import kinds
from cl.graph.node import Node
from cl.graph.roles import Role
from cl.graph.specs import Spec


@dataclass(frozen=True)
class Free(Spec):
    """Any values, of any kind."""

    kind: str  # type: ignore[misc]  # the kinds of real specifications are class variables
    values: dict[str, Any] = field(default_factory=dict)


def node(
    kind: str,
    name: str,
    values: Mapping[str, Any] | None = None,
    parents: Mapping[str, Node] | None = None,
    **more: Any,
) -> Node:
    """A node whose specification holds `values`; roles of parents in their text form."""
    assert kind in kinds.KINDS
    roles = {Role.parse(role): parent for role, parent in (parents or {}).items()}
    return Node(name, Free(kind, dict(values or {})), roles, **more)
