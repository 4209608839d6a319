"""Table of the kinds of nodes: the step that computes a node, its specification, libraries and cost."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import ModuleType

    from cl.graph.specs import Spec


@dataclass(frozen=True)
class Kind:
    """A kind of node.

    Args:
        step: module whose `run(spec, inputs, context)` computes a node.
        spec: `module:Class` of the specification.
        libraries: packages whose versions are in the key.
        seconds: time per node that does not depend on its size (measured on two cores with a model of 0.2 M
            parameters).
        light: compute the node in the job of a parent, because queueing would take longer.
        speed: tokens per second relative to training; a forward pass alone is three times as fast.
        version: result version, which replaces the hash of the code in a release. Raise it by hand when an edit changes
            a result. The pinned trajectories of tests/invariants test that it was raised.
    """

    step: str
    spec: str
    libraries: tuple[str, ...]
    seconds: float
    light: bool = False
    speed: float = 1.0
    version: int = 1

    def module(self) -> ModuleType:
        """The imported module of the step."""
        return importlib.import_module(self.step)

    def specification(self) -> type[Spec]:
        """The class of the specification."""
        module, _, name = self.spec.partition(":")
        found: type[Spec] = getattr(importlib.import_module(module), name)
        return found


TORCH = ("peft", "torch", "transformers")
GRAPH, MEASURED, ORDER = "cl.graph.specs", "cl.graph.measurement_specs", "cl.sample_order.specs"

KINDS = {
    "tokenizer": Kind(
        "cl.steps.tokenizer", f"{GRAPH}:TokenizerSpec", ("gguf", "tokenizers", "transformers"), 2.0, light=True
    ),
    "data": Kind(
        "cl.steps.data",
        f"{GRAPH}:DataSpec",
        ("datasets", "pyarrow", "tokenizers", "transformers"),
        1.0,
        light=True,
    ),
    "cut": Kind("cl.steps.cut", f"{GRAPH}:CutSpec", (), 1.0, light=True),
    "base": Kind("cl.steps.base", f"{GRAPH}:BaseSpec", ("gguf", "torch", "transformers"), 1.0, light=True),
    "train": Kind("cl.steps.train", f"{GRAPH}:TrainSpec", (*TORCH, "pytorch-lightning"), 1.0, version=2),
    "consolidate": Kind("cl.steps.consolidate", f"{GRAPH}:ConsolidateSpec", TORCH, 1.0, light=True, version=2),
    "merge": Kind("cl.steps.merge", f"{GRAPH}:MergeSpec", TORCH, 2.0, light=True),
    "select": Kind("cl.steps.select", f"{GRAPH}:SelectSpec", (*TORCH, "tokenizers"), 5.0, version=2),
    "embed": Kind("cl.steps.embed", f"{MEASURED}:EmbedSpec", (*TORCH, "tokenizers"), 1.0, speed=3.0),
    "retrieve": Kind("cl.steps.retrieve", f"{MEASURED}:RetrieveSpec", ("scipy", "tokenizers", "transformers"), 2.0),
    "amortise": Kind("cl.steps.amortise", f"{MEASURED}:AmortiseSpec", TORCH, 1.0),
    "modulate": Kind("cl.steps.modulate", f"{MEASURED}:ModulateSpec", TORCH, 1.0, speed=3.0),
    "teacher": Kind("cl.steps.teacher", f"{GRAPH}:TeacherSpec", TORCH, 1.0, speed=3.0, version=2),
    "evaluate": Kind("cl.steps.evaluate", f"{MEASURED}:EvaluateSpec", TORCH, 0.5, speed=3.0, version=2),
    "probe": Kind("cl.steps.probe", f"{MEASURED}:ProbeSpec", TORCH, 2.0, speed=3.0, version=2),
    "itemwise": Kind("cl.steps.itemwise", f"{MEASURED}:ItemwiseSpec", TORCH, 0.5, speed=3.0),
    "gate": Kind("cl.steps.gate", f"{MEASURED}:GateSpec", ("numpy", "scipy"), 0.5, light=True),
    "promote": Kind("cl.steps.promote", f"{MEASURED}:PromoteSpec", (), 0.5, light=True),
    "trace": Kind("cl.sample_order.trace", f"{ORDER}:TraceSpec", (*TORCH, "pytorch-lightning"), 1.0, version=2),
    "grid": Kind("cl.sample_order.grid_node", f"{ORDER}:GridSpec", TORCH, 2.0, version=2),
    "order": Kind("cl.sample_order.order_node", f"{ORDER}:OrderSpec", (*TORCH, "optuna", "scipy"), 10.0),
}
