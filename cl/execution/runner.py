"""Execute the missing nodes of a graph, parents first."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from cl.errors import UserError
from cl.execution import machine
from cl.execution.listener import Listener
from cl.execution.store import Store
from cl.graph.node import Node, ancestors
from cl.graph.roles import Inputs
from cl.graph.specs import TrainSpec
from cl.metrics.records import Point
from cl.models import pretrained


def pending(wanted: Iterable[Node], store: Store) -> list[Node]:
    """Nodes to execute so that all `wanted` nodes are stored, parents first.

    A missing node that only stored nodes need is left out.
    """
    wanted = list(wanted)
    nodes = {node.key: node for node in ancestors(wanted)}
    found: dict[str, Node] = {}
    seen: set[str] = set()

    def visit(key: str) -> None:
        """Find the node and its missing ancestors, unless it is stored."""
        if key in seen:
            return
        seen.add(key)
        node = nodes[key]  # the node of this key whose `needs` are those of all its children
        if not store.has(node):
            for parent in (*node.parents.values(), *node.uses.values()):
                visit(parent.key)
            found[key] = node

    for node in wanted:
        visit(node.key)
    return list(found.values())


def run(nodes: Iterable[Node], store: Store, listener: Listener) -> None:
    """Execute nodes in the given order and publish each. A published node stays stored if a later node fails.

    Args:
        nodes: nodes, parents first.
        store: the store.
        listener: is notified.

    Raises:
        UserError: for a result that is not finite and for a missing GPU. Errors of a node are passed on.
    """
    nodes = list(nodes)
    _check_gpus(nodes)
    machine.keep_freed_memory()
    for node in nodes:
        with store.work(node, partial(listener.waiting, node)) as work:
            if work is None:
                listener.found(node)
                continue
            listener.started(node)
            started = time.monotonic()
            result = _computed(node, store, work, listener)
            seconds = time.monotonic() - started
            _check_finite(node, result)
            store.publish(node, work, {"seconds_in_all": seconds, "machine": machine.record(), **result})
            listener.finished(node, seconds)
        gc.collect()  # learner, trainer and callbacks form cycles; their tensors do not trigger the collector
        gc.freeze()  # what is left are imported modules: the next collection need not visit a million objects again


def _check_gpus(nodes: Iterable[Node]) -> None:
    """Raises UserError, before anything is computed, if this machine has too few GPUs for a node."""
    needing = [node for node in nodes if node.gpus]
    if not needing:
        return
    import torch

    if (here := torch.cuda.device_count()) < (most := max(node.gpus for node in needing)):
        name = f"{needing[0].kind} {needing[0].name}"
        raise UserError(
            f"train.device: {name} needs cuda ({most} GPU(s)) and there are {here} here; use cpu or auto, or set "
            "launcher to ray or slurm"
        )


def _check_finite(node: Node, result: dict[str, Any]) -> None:
    """Raises UserError for NaN or infinity in a result."""
    try:
        json.dumps(result, allow_nan=False)
    except ValueError as error:
        what = "the loss is not finite, training diverged" if node.kind == "train" else "a result is not finite"
        raise UserError(f"{node.kind} {node.name}: {what}; lower train.lr or train.clip") from error


class _Watcher:
    """Passes progress and points of one node on to a listener."""

    def __init__(self, node: Node, listener: Listener) -> None:
        self.node, self.listener = node, listener

    def progress(self, done: int, total: int) -> None:
        self.listener.progress(self.node, done, total)

    def point(self, point: Point) -> None:
        self.listener.point(self.node, point)


def compute(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    """Compute a node in this process, possibly as one of several processes that train it together.

    Args:
        node: the node; its parents are stored.
        store: the store.
        work: scratch folder; artifacts are written to its subfolder `out`.
        listener: is notified.

    Returns:
        Result of the node's step.
    """
    inputs = Inputs({role: store.path(parent) for role, parent in node.parents.items()})
    uses = {name: store.path(used) for name, used in node.uses.items()}
    from cl.steps.context import Context

    context = Context(work / "out", work, _Watcher(node, listener), node.local, uses)
    with pretrained.trusting(node.local.model) if node.local is not None else nullcontext():
        result: dict[str, Any] = node.how.module().run(node.spec, inputs, context)
    return result


def _computed(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    """Compute a node in this process, or start the processes that train it together."""
    empty = isinstance(node.spec, TrainSpec) and node.spec.first == node.spec.last  # a fork may have no own step
    if node.processes == 1 or empty:
        return compute(node, store, work, listener)
    from cl.execution import torchrun

    return torchrun.train(node, store, work, listener)
