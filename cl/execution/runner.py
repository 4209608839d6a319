"""Execute the nodes of a graph that the store does not have, parents first."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from cl.errors import UserError
from cl.execution import machine
from cl.execution.listener import Listener
from cl.execution.store import Store
from cl.graph.node import Node, ancestors
from cl.methods import strategy
from cl.methods.method import Method
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
            result = _EXECUTE[node.kind](node, store, work, listener)
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
    """Binds a listener to the node that is being executed."""

    def __init__(self, node: Node, listener: Listener) -> None:
        self.node, self.listener = node, listener

    def progress(self, done: int, total: int) -> None:
        self.listener.progress(self.node, done, total)

    def point(self, point: Point) -> None:
        self.listener.point(self.node, point)


def _inputs(node: Node, store: Store) -> dict[str, Path]:
    return {role: store.path(parent) for role, parent in node.parents.items()}


def _tokenizer(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    from cl.steps import tokenizer

    return tokenizer.tokenizer(dict(node.spec), dict(node.local), work / "out")


def _data(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    from cl.steps import data

    return data.data(dict(node.spec), dict(node.local), _inputs(node, store), work / "out")


def _base(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    from cl.steps import base

    return base.base(dict(node.spec), dict(node.local), _inputs(node, store), work / "out")


def _train(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    if node.processes == 1 or node.spec["first"] == node.spec["last"]:  # a fork may have no step of its own
        return train(node, store, work, listener)
    from cl.execution import torchrun

    return torchrun.train(node, store, work, listener)


def train(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    """Compute a train node in this process, alone or as one of several."""
    from cl.steps import train as training

    methods = [_method(entry, node) for entry in node.spec["methods"]]
    uses = {name: store.path(used) for name, used in node.uses.items()}
    watcher = _Watcher(node, listener)
    return training.train(training.Order(node.spec, node.local, _inputs(node, store), uses, methods, work, watcher))


def _method(entry: dict[str, dict[str, Any]], node: Node) -> Method:
    """The method that a specification names by `{NAME: settings}`."""
    ((name, settings),) = entry.items()
    return strategy.build_part(name, settings, f"{node.name}.{name}").method


def _consolidate(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    from cl.steps import consolidate

    method = _method(node.spec["method"], node)
    return consolidate.consolidate(node.spec, _inputs(node, store), method, work / "out")


def _merge(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    from cl.steps import merge

    return merge.merge(node.spec, _inputs(node, store), _method(node.spec["method"], node), work / "out")


def _select(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    from cl.steps import select

    progress = _Watcher(node, listener).progress
    return select.select(node.spec, _inputs(node, store), _method(node.spec["method"], node), work / "out", progress)


def _teacher(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    from cl.steps import teacher

    return teacher.teach(node.spec, _inputs(node, store), work / "out", _Watcher(node, listener).progress)


def _evaluate(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    from cl.steps import evaluate

    progress = _Watcher(node, listener).progress
    return evaluate.evaluate(dict(node.spec), _inputs(node, store), work / "out", progress)


def _stages_methods(node: Node) -> list[list[Method]]:
    """The methods of each stage that a trace reorders."""
    return [[_method(entry, node) for entry in stage["methods"]] for stage in node.spec["stages"]]


def _trace(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    from cl.sample_order import trace

    progress = _Watcher(node, listener).progress
    return trace.trace(node.spec, _inputs(node, store), _stages_methods(node), work / "out", progress)


def _grid(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    from cl.sample_order import steps

    progress = _Watcher(node, listener).progress
    return steps.grid(node.spec, _inputs(node, store), _stages_methods(node), work, progress)


def _order(node: Node, store: Store, work: Path, listener: Listener) -> dict[str, Any]:
    from cl.sample_order import steps

    return steps.ask(node.spec, _inputs(node, store), _stages_methods(node), _Watcher(node, listener).progress)


Execute = Callable[[Node, Store, Path, Listener], dict[str, Any]]
_EXECUTE: dict[str, Execute] = {
    "tokenizer": _tokenizer,
    "data": _data,
    "base": _base,
    "train": _train,
    "consolidate": _consolidate,
    "merge": _merge,
    "teacher": _teacher,
    "select": _select,
    "evaluate": _evaluate,
    "trace": _trace,
    "grid": _grid,
    "order": _order,
}
