"""Nodes of free specifications, for tests that compute nothing; and the typed specifications of planned ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from cl.graph import kinds
from cl.graph.measurement_specs import EvaluateSpec
from cl.graph.node import Node
from cl.graph.roles import Role
from cl.graph.specs import Local, Spec, TeacherSpec, TrainSpec

S = TypeVar("S", bound=Spec)


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


def spec_of(node: Node, cls: type[S]) -> S:
    """The specification of a node, which is of this class."""
    assert isinstance(node.spec, cls)
    return node.spec


def trained(node: Node) -> TrainSpec:
    """The specification of a train node."""
    return spec_of(node, TrainSpec)


def evaluated(node: Node) -> EvaluateSpec:
    """The specification of a row of R."""
    return spec_of(node, EvaluateSpec)


def taught(node: Node) -> TeacherSpec:
    """The specification of a teacher node."""
    return spec_of(node, TeacherSpec)


def local_of(node: Node) -> Local:
    """What a node needs at run time, which no key holds."""
    assert node.local is not None
    return node.local
