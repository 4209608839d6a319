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

from cl import signals
from cl.errors import DivergedError, IncompleteError, UserError, of_machine
from cl.execution import machine, progress, verification
from cl.execution.listener import Listener
from cl.execution.records import DamageError
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


def run(nodes: Iterable[Node], store: Store, listener: Listener, fail_fast: bool = True) -> None:
    """Execute nodes in the given order and publish each. A published node stays stored if a later node fails.

    A node that diverges stops what stands on it and nothing else. So does a node that breaks, unless the first one is
    to end the run.

    Args:
        nodes: nodes, parents first.
        store: the store.
        listener: is notified.
        fail_fast: pass the error of a node that breaks on at once.

    Raises:
        IncompleteError: at the end, if nodes failed; its cause is the first error of a node that broke.
        UserError: for a missing GPU, and for bad input that a node finds. Errors of the machine, such as a full disk,
            are passed on at once, too.
    """
    nodes = list(nodes)
    _check_gpus(nodes)
    store.open_for_writing()
    machine.keep_freed_memory()
    failures: dict[str, tuple[str, str]] = {}
    missing: set[str] = set()
    broken: Exception | None = None
    for node in nodes:
        signals.check()
        if missing & {parent.key for parent in (*node.parents.values(), *node.uses.values())}:
            missing.add(node.key)
            continue
        try:
            _run(node, store, listener)
        except Exception as error:
            if not isinstance(error, DivergedError):
                if fail_fast or isinstance(error, UserError) or of_machine(error) is not None:
                    raise
                broken = broken or error
            failures[node.key] = (f"{node.kind} {node.name}", progress.failed(store, node, error))
            listener.note(node, failures[node.key][1])
            missing.add(node.key)
        gc.collect()  # learner, trainer and callbacks form cycles; their tensors do not trigger the collector
        gc.freeze()  # what is left are imported modules: the next collection need not visit a million objects again
    if failures:
        raise IncompleteError(failures) from broken


def _run(node: Node, store: Store, listener: Listener) -> None:
    """Compute a node and publish it, unless another process does."""
    try:
        store.read(node.key)
    except FileNotFoundError:
        pass
    except DamageError as error:
        set_aside(error, node, store, listener)
    _restore_parents(node, store, listener)
    with store.work(node, partial(listener.waiting, node)) as work:
        if work is None:
            listener.found(node)
            return
        listener.started(node)
        started = time.monotonic()
        result = _computed(node, store, work, listener)
        seconds = time.monotonic() - started
        _check_finite(result)
        store.publish(node, work, {"seconds_in_all": seconds, "machine": machine.record(), **result})
        listener.finished(node, seconds)


def _restore_parents(node: Node, store: Store, listener: Listener) -> None:
    """Check what a node reads. Parents that are damaged or were deleted meanwhile are computed again."""
    for parent in (*node.parents.values(), *node.uses.values()):
        try:
            store.path(parent)
        except FileNotFoundError:
            listener.note(parent, "was deleted; it is computed again")
        except DamageError as error:
            set_aside(error, parent, store, listener)
        else:
            continue
        run(pending([parent], store), store, listener)


def set_aside(damaged: DamageError, node: Node, store: Store, listener: Listener) -> None:
    """Move a damaged node out of the way, and say so."""
    place = verification.set_aside(store, damaged.key)
    listener.note(node, f"damaged: {damaged.wrong[0]}; set aside in {place}" if place else "damaged, and set aside")


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


def _check_finite(result: dict[str, Any]) -> None:
    """Raises DivergedError for NaN or infinity in a result."""
    try:
        json.dumps(result, allow_nan=False)
    except ValueError as error:
        raise DivergedError from error


class _Watcher:
    """Passes progress and points of one node on to a listener."""

    def __init__(self, node: Node, listener: Listener, work: Path) -> None:
        self.node, self.listener, self.written = node, listener, progress.Writer(node, work)

    def progress(self, done: int, total: int) -> None:
        self.written.progress(done, total)
        self.listener.progress(self.node, done, total)

    def point(self, point: Point) -> None:
        self.written.point(point)
        self.listener.point(self.node, point)

    def note(self, text: str) -> None:
        self.listener.note(self.node, text)


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

    context = Context(work / "out", work, _Watcher(node, listener, work), node.local, uses)
    with pretrained.trusting(node.local.model) if node.local is not None else nullcontext():
        result: dict[str, Any] = node.how.module().run(node.spec, inputs, context)
    return result


def _computed(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    """Compute a node in this process, or start the processes that train it together."""
    empty = isinstance(node.spec, TrainSpec) and node.spec.first == node.spec.last  # a fork may have no own step
    if node.processes * node.machines == 1 or empty:
        return compute(node, store, work, listener)
    from cl.execution import torchrun

    return torchrun.train(node, store, work, listener)
