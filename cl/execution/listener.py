"""Who is told about nodes while they are computed, also from another process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from cl.graph.node import Node
from cl.metrics.records import Point

PATIENCE = 0.5  # seconds between two tellings of a node's progress
Say = Callable[[dict[str, Any]], None]


class Listener(Protocol):
    """Who is told of nodes by another process."""

    def waiting(self, node: Node) -> None:
        """Another process computes the node."""

    def found(self, node: Node) -> None:
        """Another process stored the node."""

    def started(self, node: Node) -> None:
        """A node's computation begins."""

    def progress(self, node: Node, done: int, total: int) -> None:
        """`done` of `total` steps are finished."""

    def point(self, node: Node, point: Point) -> None:
        """A point of a curve."""

    def finished(self, node: Node, seconds: float) -> None:
        """The node is stored."""


class Teller:
    """A listener that says all it hears as JSON data; `hear`, in another process, hands it to a listener there."""

    def __init__(self, say: Say) -> None:
        self.say, self.last = say, 0.0

    def waiting(self, node: Node) -> None:
        """Say so."""
        self._tell("waiting", node)

    def found(self, node: Node) -> None:
        """Say so."""
        self._tell("found", node)

    def started(self, node: Node) -> None:
        """Say so."""
        self._tell("started", node)

    def progress(self, node: Node, done: int, total: int) -> None:
        """Say so now and then: a step may take less time than saying it."""
        if time.monotonic() - self.last >= PATIENCE or done == total:
            self.last = time.monotonic()
            self._tell("progress", node, done, total)

    def point(self, node: Node, point: Point) -> None:
        """Say so."""
        self._tell("point", node, asdict(point))

    def finished(self, node: Node, seconds: float) -> None:
        """Say so."""
        self._tell("finished", node, seconds)

    def _tell(self, event: str, node: Node, *what: Any) -> None:
        self.say({"event": event, "key": node.key, "what": list(what)})


def hear(said: Mapping[str, Any], nodes: Mapping[str, Node], listener: Listener) -> None:
    """Give the listener what a `Teller` said of one of the nodes, which stand by their keys."""
    what = said["what"] if said["event"] != "point" else [Point(**each) for each in said["what"]]
    getattr(listener, said["event"])(nodes[said["key"]], *what)
