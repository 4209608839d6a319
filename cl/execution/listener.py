"""Listeners: notified while nodes are computed, also by another process."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, Protocol

from cl.graph.node import Node
from cl.metrics.records import Point

PATIENCE = 0.5  # seconds between two progress messages of a node
Say = Callable[[dict[str, Any]], None]


class Listener(Protocol):
    """Is notified while nodes are computed. Cannot change a result."""

    def waiting(self, node: Node) -> None:
        """Called when another process computes the node."""

    def found(self, node: Node) -> None:
        """Called when another process has stored the node."""

    def started(self, node: Node) -> None:
        """Called before the node is computed."""

    def progress(self, node: Node, done: int, total: int) -> None:
        """Called when `done` of `total` steps are finished."""

    def point(self, node: Node, point: Point) -> None:
        """Called when a point of a training curve was recorded."""

    def note(self, node: Node, text: str) -> None:
        """Called with a sentence about the node for the user, such as that a file of it is damaged."""

    def finished(self, node: Node, seconds: float) -> None:
        """Called when the node is stored."""


class Teller:
    """A listener that sends each call as a JSON message; `hear` repeats the call in the receiving process.

    Args:
        say: sends one message.
    """

    def __init__(self, say: Say) -> None:
        self.say, self.last = say, 0.0

    def waiting(self, node: Node) -> None:
        """Send the call."""
        self._tell("waiting", node)

    def found(self, node: Node) -> None:
        """Send the call."""
        self._tell("found", node)

    def started(self, node: Node) -> None:
        """Send the call."""
        self._tell("started", node)

    def progress(self, node: Node, done: int, total: int) -> None:
        """Send the call at most every PATIENCE seconds, because a step may be faster than a message."""
        if time.monotonic() - self.last >= PATIENCE or done == total:
            self.last = time.monotonic()
            self._tell("progress", node, done, total)

    def point(self, node: Node, point: Point) -> None:
        """Send the call."""
        self._tell("point", node, asdict(point))

    def note(self, node: Node, text: str) -> None:
        """Send the call."""
        self._tell("note", node, text)

    def finished(self, node: Node, seconds: float) -> None:
        """Send the call."""
        self._tell("finished", node, seconds)

    def _tell(self, event: str, node: Node, *what: Any) -> None:
        self.say({"event": event, "key": node.key, "what": list(what)})


def hear(said: Mapping[str, Any], nodes: Mapping[str, Node], listener: Listener) -> None:
    """Repeat a call that a `Teller` sent.

    Args:
        said: the message.
        nodes: nodes by key.
        listener: listener to call.
    """
    what = said["what"] if said["event"] != "point" else [Point(**each) for each in said["what"]]
    getattr(listener, said["event"])(nodes[said["key"]], *what)
