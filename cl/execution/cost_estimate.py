"""What a graph will cost: seconds per node, from what this store has measured, or from a short calibration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cl.execution import calibration
from cl.execution.store import Store
from cl.graph.node import Node
from cl.graph.planner import Graph
from cl.graph.roles import STATE
from cl.graph.specs import to_json
from cl.models import pretrained

# Rough on purpose, and replaced by measurements as soon as one train node is stored: the share of the
# processor's measured matrix rate that training reaches.
EFFICIENCY = 0.5
# Seconds per call: importing torch, transformers and Lightning; compiling.
STARTING = 10.0
COMPILING = 45.0
COMPUTE = ("device", "precision", "compile")


@dataclass(frozen=True)
class Estimate:
    """Seconds by node key, and `once`, of starting and compiling.

    measured: the rate is that of this store's own train nodes, else from a calibration.
    """

    seconds: dict[str, float]
    once: float
    tokens_per_second: float
    measured: bool

    @property
    def total(self) -> float:
        """Seconds of everything."""
        return sum(self.seconds.values()) + self.once


def estimate(graph: Graph, nodes: Iterable[Node], store: Store) -> Estimate:
    """Estimate the seconds of `nodes`, one after another on this machine."""
    nodes = list(nodes)
    if not nodes:
        return Estimate({}, 0.0, 0.0, False)
    example = graph.runs[0].stages[0].node
    known = _measured(example, store)
    rate = known or _calibrated(graph)
    seconds = {}
    for node in nodes:
        overhead = 1 + graph.experiment.evaluation.share if node.kind == "train" else 1.0
        seconds[node.key] = node.how.seconds + node.cost / (rate * node.how.speed) * overhead
    compiles = graph.compute.compile and any(node.kind == "train" for node in nodes)
    return Estimate(seconds, STARTING + (COMPILING if compiles else 0.0), rate, known is not None)


def _measured(example: Node, store: Store) -> float | None:
    """Tokens per second of the newest stored train node with the same model size and settings, if there is one."""
    base = example.parents[STATE]
    if not store.has(base):
        return None
    wanted = (store.result(base)["parameters"], example.processes, *_shape(to_json(example.spec)))
    found = []
    for record in store.records():
        result, identity = record["result"], record["identity"]
        if identity["kind"] == "train":
            shape = (result["parameters"], result.get("devices", 1), *_shape(identity["spec"]))
            found += [(record["created"], float(result["tokens_per_second"]))] if shape == wanted else []
    return max(found)[1] if found else None


def _shape(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    """The settings that decide how fast a train node is, from the JSON form of its specification."""
    names = ("sequence", "batch", "micro_batch", "gradient_checkpointing")
    return *(spec["train"].get(name) for name in names), *(spec["compute"].get(name) for name in COMPUTE)


def _calibrated(graph: Graph) -> float:
    """Tokens per second from the rate of a matrix product: 6 floating-point operations per parameter and token."""
    return EFFICIENCY * calibration.rate(graph.compute) / (6 * pretrained.parameters(graph.experiment.model))
