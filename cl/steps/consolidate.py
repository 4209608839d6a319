"""Compute a consolidate node: a method's memory of all stages up to a finished stage, for later stages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from cl.data.batches import Batch
from cl.data.mixture import Ledger
from cl.data.rows import rows
from cl.graph.roles import BASE, STATE, TOKENIZER, Inputs, data
from cl.graph.roles import MEMORY as MEMORY_NODE
from cl.graph.specs import ConsolidateSpec
from cl.graph.stored import result_of
from cl.methods import strategy
from cl.methods.method import Learned, Remembers
from cl.models import adapters
from cl.models.forward import TokenLoss
from cl.steps.context import Context
from cl.training.stage_rows import MEMORY, stage_seed, trained


def run(spec: ConsolidateSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Store a method's memory after the stage that ended in the parent state.

    The random generator is seeded with the seed of the stage.

    Returns:
        Size of the memory in bytes.
    """
    torch.manual_seed(stage_seed(spec.seed, spec.t))
    method = strategy.build_method(spec.method, f"memory of stage {spec.t}")
    assert isinstance(method, Remembers)
    device, tasks = spec.compute.device, list(spec.tasks)
    model = adapters.load(inputs[STATE], inputs.get(BASE)).to(device).eval()
    separator = result_of(inputs[TOKENIZER])["separator_id"]
    sources = {task: rows(inputs[data(task)], task, "train", spec.packing.sequence) for task in tasks}
    ledger = Ledger.from_json(result_of(inputs[STATE])["ledger"])

    def batches(size: int) -> Iterator[Batch]:
        for batch in trained(ledger, tasks, sources, size, separator):
            yield batch.to(device)

    # a memory is measured in fp32, which FlashAttention does not compute
    kernel = None if spec.compute.attention == "flash" else spec.compute.attention
    loss = TokenLoss(model, separator, spec.packing.boundaries, kernel)
    tensors = _state(inputs[STATE], spec.state)
    memory = load_file(inputs[MEMORY_NODE] / MEMORY) if MEMORY_NODE in inputs else {}
    seen = Learned(model, spec.t, tensors, memory, loss.total, loss.outputs, batches, tasks)
    found = method.consolidate(seen)
    stored = {name: value.detach().cpu().contiguous() for name, value in found.items()}
    save_file(stored, context.out / MEMORY)
    return {"bytes": sum(value.numel() * value.element_size() for value in stored.values())}


def _state(folder: Path, place: str | None) -> dict[str, torch.Tensor]:
    """The method's own state at the end of the stage; empty if the method was not active or has no state."""
    stored = folder / "methods.safetensors"
    if place is None or not stored.exists():
        return {}
    prefix = f"{place}/"
    return {key.removeprefix(prefix): v for key, v in load_file(stored).items() if key.startswith(prefix)}
