"""Execute the nodes of a graph that the store does not have, parents first."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterable
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


def pending(wanted: Iterable[Node], store: Store) -> list[Node]:
    """Nodes to execute so that all `wanted` are stored, parents first; what only led to stored nodes is left out."""
    wanted = list(wanted)
    nodes = {node.key: node for node in ancestors(wanted)}
    found: dict[str, Node] = {}
    seen: set[str] = set()

    def visit(key: str) -> None:
        """Find the node and what it stands on, unless it is stored."""
        if key in seen:
            return
        seen.add(key)
        node = nodes[key]  # the one that is stored with all that anyone needs of it
        if not store.has(node):
            for parent in (*node.parents.values(), *node.uses.values()):
                visit(parent.key)
            found[key] = node

    for node in wanted:
        visit(node.key)
    return list(found.values())


def run(nodes: Iterable[Node], store: Store, listener: Listener) -> None:
    """Execute nodes in the given order and publish each; finished ones stay stored whatever happens to a later one.

    Raises what a node raises, and UserError for a result that is not finite and for a GPU that is not there.
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
        gc.collect()  # learner, trainer and callbacks know one another; their tensors do not wake the collector


def _check_gpus(nodes: Iterable[Node]) -> None:
    """Refuse before anything is computed what this machine cannot compute."""
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
    try:
        json.dumps(result, allow_nan=False)
    except ValueError as error:
        what = "the loss is not finite, training diverged" if node.kind == "train" else "a result is not finite"
        raise UserError(f"{node.kind} {node.name}: {what}; lower train.lr or train.clip") from error


class _Watcher:
    """Binds a listener to the node that is being computed."""

    def __init__(self, node: Node, listener: Listener) -> None:
        self.node, self.listener = node, listener

    def progress(self, done: int, total: int) -> None:
        self.listener.progress(self.node, done, total)

    def point(self, point: Point) -> None:
        self.listener.point(self.node, point)


def compute(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    """Compute a node in this process, or as one of several that train it together; its artifacts go to `work/out`."""
    inputs = Inputs({role: store.path(parent) for role, parent in node.parents.items()})
    uses = {name: store.path(used) for name, used in node.uses.items()}
    from cl.steps.context import Context

    context = Context(work / "out", work, _Watcher(node, listener), node.local, uses)
    result: dict[str, Any] = node.how.module().run(node.spec, inputs, context)
    return result


def _computed(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    """Compute a node here, or start the processes that compute it together."""
    empty = isinstance(node.spec, TrainSpec) and node.spec.first == node.spec.last  # a fork may have no step of its own
    if node.processes == 1 or empty:
        return compute(node, store, work, listener)
    from cl.execution import torchrun

    return torchrun.train(node, store, work, listener)
