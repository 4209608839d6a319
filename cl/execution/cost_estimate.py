"""Estimate seconds per node, from train nodes in the store or from a short calibration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cl.execution import calibration, step_speed
from cl.execution.store import Store
from cl.graph.node import Node
from cl.graph.planner import Graph
from cl.graph.roles import STATE
from cl.graph.spec_json import to_json
from cl.models import pretrained

EFFICIENCY = 0.5
"""Share of the measured matrix rate that training reaches. Rough; unused as soon as one train node is stored."""
STARTING = 10.0  # seconds per call to import torch, transformers and Lightning
COMPILING = 45.0  # seconds per call to compile
COMPUTE = ("device", "precision", "compile")


@dataclass(frozen=True)
class Estimate:
    """Estimated cost of nodes.

    Args:
        seconds: seconds by node key.
        once: seconds of starting and compiling.
        tokens_per_second: training speed.
        measured: the speed is that of a train node in the store; otherwise it is from the calibration.
        warnings: sentences about settings that cost much on this machine.
    """

    seconds: dict[str, float]
    once: float
    tokens_per_second: float
    measured: bool
    warnings: tuple[str, ...] = ()

    @property
    def total(self) -> float:
        """Total seconds."""
        return sum(self.seconds.values()) + self.once


def estimate(graph: Graph, nodes: Iterable[Node], store: Store, measure: bool = False) -> Estimate:
    """Estimate the seconds of nodes that are computed one after another on this machine.

    Args:
        graph: the planned experiment.
        nodes: nodes to compute.
        store: the store.
        measure: time a few steps where no train node tells the speed, which takes seconds.
    """
    nodes = list(nodes)
    if not nodes:
        return Estimate({}, 0.0, 0.0, False)
    example = next((plan.node for run in graph.runs for plan in run.stages), None)
    known = None if example is None else _measured(example, store)
    rate = known or _guessed(graph, measure)
    seconds = {}
    for node in nodes:
        overhead = 1 + graph.experiment.evaluation.share if node.kind == "train" else 1.0
        seconds[node.key] = node.how.seconds + node.cost / (rate * node.how.speed) * overhead
    compiles = graph.compute.compile and any(node.kind == "train" for node in nodes)
    return Estimate(seconds, STARTING + (COMPILING if compiles else 0.0), rate, known is not None, _costly(graph))


def _costly(graph: Graph) -> tuple[str, ...]:
    """Sentences about settings that cost much on this machine."""
    factor = calibration.emulated(graph.compute)
    if factor is None:
        return ()
    told = f"this processor multiplies {factor:.1f} times slower in bf16 than in fp32"
    return (f"train.precision: bf16: {told}; use fp32 or auto, which make other nodes",)


def _measured(example: Node, store: Store) -> float | None:
    """Tokens per second of the newest stored train node with the same model size and settings. None: there is none."""
    base = example.parents[STATE]
    if not store.has(base):
        return None
    wanted = (store.result(base)["parameters"], example.processes, *_shape(to_json(example.spec)))
    found = []
    for record in store.records():
        result, identity = record.result, record.identity
        if identity["kind"] == "train":
            shape = (result["parameters"], result.get("devices", 1), *_shape(identity["spec"]))
            found += [(record.created, float(result["tokens_per_second"]))] if shape == wanted else []
    return max(found)[1] if found else None


def _shape(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    """Settings that determine the speed of a train node, from the JSON form of its specification."""
    names = ("sequence", "batch", "micro_batch", "gradient_checkpointing")
    return *(spec["train"].get(name) for name in names), *(spec["compute"].get(name) for name in COMPUTE)


def _guessed(graph: Graph, measure: bool) -> float:
    """Tokens per second from a few steps, or from the calibrated rate where none are made."""
    known = step_speed.tokens_per_second(
        graph.experiment.model, graph.experiment.train.optimization, graph.compute, measure
    )
    return known or _calibrated(graph)


def _calibrated(graph: Graph) -> float:
    """Tokens per second from the calibrated rate, with 6 floating-point operations per parameter and token."""
    return EFFICIENCY * calibration.rate(graph.compute) / (6 * pretrained.parameters(graph.experiment.model))
