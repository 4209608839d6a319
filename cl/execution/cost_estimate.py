"""What a graph will cost: seconds per node, from what this store has measured, or from a short calibration."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from cl.execution.store import Store
from cl.graph.node import Node
from cl.graph.planner import Graph
from cl.models import pretrained

# Rough on purpose, and replaced by measurements as soon as one train node is stored: the share of the
# processor's measured matrix rate that training reaches, and what evaluation saves (no backward pass).
EFFICIENCY = 0.5
EVALUATION_SPEED = 3.0
# Seconds of a node whatever its size (benchmarked on two cores with a model of 0.2 M parameters).
FIXED = {
    "tokenizer": 2.0,
    "data": 1.0,
    "base": 1.0,
    "train": 1.0,
    "consolidate": 1.0,
    "merge": 2.0,
    "teacher": 1.0,
    "select": 5.0,
    "evaluate": 0.5,
    "trace": 1.0,
    "grid": 2.0,
    "order": 10.0,
}
# Seconds per call: importing torch, transformers and Lightning; compiling.
STARTING = 10.0
COMPILING = 45.0


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
    rate = known or _calibrated(graph, str(example.spec["precision"]))
    seconds = {}
    for node in nodes:
        speed = rate * (EVALUATION_SPEED if node.kind in ("evaluate", "teacher") else 1.0)
        overhead = 1 + graph.experiment.evaluation.share if node.kind == "train" else 1.0
        seconds[node.key] = FIXED[node.kind] + node.cost / speed * overhead
    compiles = bool(example.spec["compile"]) and any(node.kind == "train" for node in nodes)
    return Estimate(seconds, STARTING + (COMPILING if compiles else 0.0), rate, known is not None)


def _measured(example: Node, store: Store) -> float | None:
    """Tokens per second of the newest stored train node with the same model size and settings, if there is one."""
    base = example.parents["state"]
    if not store.has(base):
        return None
    wanted = (store.result(base)["parameters"], example.processes, *_shape(example.spec))
    found = []
    for record in store.records():
        result = record["result"]
        if (
            record["identity"]["kind"] == "train"
            and (result["parameters"], result.get("devices", 1), *_shape(record["identity"]["spec"])) == wanted
        ):
            found.append((record["created"], float(result["tokens_per_second"])))
    return max(found)[1] if found else None


def _shape(spec: Mapping[str, Any]) -> tuple[Any, ...]:
    """The settings that decide how fast a train node is."""
    train = spec["train"]
    names = ("sequence", "batch", "micro_batch", "gradient_checkpointing")
    return *(train[name] for name in names), spec["device"], spec["precision"], spec["compile"]


def _calibrated(graph: Graph, precision: str) -> float:
    """Tokens per second from the rate of a matrix product: 6 floating-point operations per parameter and token."""
    import torch

    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    device = str(graph.runs[0].stages[0].node.spec["device"])
    if device == "cuda" and not torch.cuda.is_available():
        device = "cpu"  # GPUs elsewhere are faster: a bound, until one was measured
    left = torch.randn(768, 768, device=device).to(dtype)
    started, count = time.monotonic(), 0
    while time.monotonic() - started < 0.3:
        left @ left
        count += 1
    if device == "cuda":
        torch.cuda.synchronize()
    flops = count * 2 * 768**3 / (time.monotonic() - started)
    return EFFICIENCY * flops / (6 * pretrained.parameters(graph.experiment.model))
