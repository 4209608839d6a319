"""Execute a consolidate node: what a method takes of a finished stage into the stages after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from cl.config.train import Train
from cl.data.batches import Batch, rows
from cl.data.mixture import Ledger
from cl.graph.stored import result_of
from cl.methods.method import Learned, Method
from cl.models import adapters
from cl.models.forward import TokenLoss
from cl.training.stage_rows import MEMORY, trained


def consolidate(spec: Mapping[str, Any], inputs: Mapping[str, Path], method: Method, out: Path) -> dict[str, Any]:
    """Store the method's memory after the stage that ended in the parent `state`.

    Random numbers are those of the node's own seed. Returns the memory's size in bytes.
    """
    torch.manual_seed(spec["seed"] * 1_000_003 + spec["t"])
    train = Train(**spec["train"])
    model = adapters.load(inputs["state"], inputs.get("base")).to(spec["device"]).eval()
    separator = result_of(inputs["tokenizer"])["separator_id"]

    tasks: list[str] = spec["tasks"]
    sources = {task: rows(inputs[f"data/{task}"], task, "train", train.sequence) for task in tasks}
    ledger = Ledger.from_json(result_of(inputs["state"])["ledger"])

    def batches(size: int) -> Iterator[Batch]:
        for batch in trained(ledger, tasks, sources, size, separator):
            yield batch.to(spec["device"])

    loss = TokenLoss(model, separator, train.boundaries)
    tensors = _state(inputs["state"], spec["state"])
    memory = load_file(inputs["memory"] / MEMORY) if "memory" in inputs else {}
    seen = Learned(model, spec["t"], tensors, memory, loss.total, loss.outputs, batches, tasks)
    found = method.consolidate(seen)
    stored = {name: value.detach().cpu().contiguous() for name, value in found.items()}
    save_file(stored, out / MEMORY)
    return {"bytes": sum(value.numel() * value.element_size() for value in stored.values())}


def _state(folder: Path, place: str | None) -> dict[str, torch.Tensor]:
    """The method's own state at the end of the stage, where it was active in it and has one."""
    stored = folder / "methods.safetensors"
    if place is None or not stored.exists():
        return {}
    prefix = f"{place}/"
    return {key.removeprefix(prefix): v for key, v in load_file(stored).items() if key.startswith(prefix)}
