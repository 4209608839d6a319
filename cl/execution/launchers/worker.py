"""Worker of a launcher: computes the nodes of a message with a given number of threads."""

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
    """A store's URL that is valid in every working folder."""
    return str(Path(store.root).resolve()) if store.is_local else store.url


def work(sent: Mapping[str, Any], url: str, threads: int, listener: listeners.Listener) -> None:
    """Execute the nodes of a message and publish them.

    Args:
        sent: message from `cl.execution.transport.pack`.
        url: URL of the store.
        threads: number of threads.
        listener: is notified.

    Raises:
        IncompleteError: if a node fails, as `cl.execution.runner.run` says.
    """
    _use_threads(threads)
    runner.run(transport.unpack(sent), Store(url), listener, fail_fast=False)


def work_along(sent: Mapping[str, Any], url: str, threads: int, place: int) -> None:
    """On another machine, take part in the train nodes of several machines that `work` computes; returns with them.

    Args:
        sent: message from `cl.execution.transport.pack`.
        url: URL of the store.
        threads: number of threads of this machine.
        place: 1-based number of this machine among those that do not lead.
    """
    from cl.execution import torchrun

    _use_threads(threads)
    torchrun.join(transport.unpack(sent), Store(url), place)


def _use_threads(threads: int) -> None:
    import torch

    os.environ["OMP_NUM_THREADS"] = str(threads)  # for the node's record and its child processes
    torch.set_num_threads(threads)  # sums over another number of threads round differently


class Log:
    """A listener that prints lines, for the log of a job."""

    def waiting(self, node: Node) -> None:
        """Print that another process computes the node."""
        print(f"wait {node.kind} {node.name}: another process computes it", flush=True)

    def found(self, node: Node) -> None:
        """Print that the node is stored."""
        print(f"stored {node.kind} {node.name}", flush=True)

    def started(self, node: Node) -> None:
        """Print the node."""
        print(f"start {node.kind} {node.name} {node.key}", flush=True)

    def progress(self, node: Node, done: int, total: int) -> None:
        """Print nothing: points are enough."""

    def point(self, node: Node, point: Point) -> None:
        """Print step, tokens and loss."""
        loss = "" if point.loss is None else f", loss {point.loss:.4f}"
        print(f"  step {point.step}, {point.tokens} tokens{loss}", flush=True)

    def note(self, node: Node, text: str) -> None:
        """Print the sentence."""
        print(f"  {node.kind} {node.name}: {text}", flush=True)

    def finished(self, node: Node, seconds: float) -> None:
        """Print the duration."""
        print(f"done {node.kind} {node.name} in {seconds:.1f} s", flush=True)
