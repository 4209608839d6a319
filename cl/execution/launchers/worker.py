"""What a worker does: compute the nodes that it was sent, with as many threads as it was given."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl.execution import listener as listeners
from cl.execution import runner, transport
from cl.execution.store import Store
from cl.graph.node import Node
from cl.metrics.records import Point


def address(store: Store) -> str:
    """A store's URL as other processes find it, whatever folder they work in."""
    return str(Path(store.root).resolve()) if store.is_local else store.url


def work(sent: Mapping[str, Any], url: str, threads: int, listener: listeners.Listener) -> None:
    """Execute the nodes of a parcel and publish them in the store at `url`. Raises what a node raises."""
    import torch

    os.environ["OMP_NUM_THREADS"] = str(threads)  # for the record, and for processes that a node starts
    torch.set_num_threads(threads)  # sums over more threads would round otherwise
    runner.run(transport.unpack(sent), Store(url), listener)


class Log:
    """A listener that prints lines, for the log of a job."""

    def waiting(self, node: Node) -> None:
        """Say why nothing happens."""
        print(f"wait {node.kind} {node.name}: another process computes it", flush=True)

    def found(self, node: Node) -> None:
        """Say that nothing is left to do."""
        print(f"stored {node.kind} {node.name}", flush=True)

    def started(self, node: Node) -> None:
        """Say what is computed."""
        print(f"start {node.kind} {node.name} {node.key}", flush=True)

    def progress(self, node: Node, done: int, total: int) -> None:
        """Points are enough."""

    def point(self, node: Node, point: Point) -> None:
        """Say how it goes."""
        loss = "" if point.loss is None else f", loss {point.loss:.4f}"
        print(f"  step {point.step}, {point.tokens} tokens{loss}", flush=True)

    def finished(self, node: Node, seconds: float) -> None:
        """Say what it took."""
        print(f"done {node.kind} {node.name} in {seconds:.1f} s", flush=True)
