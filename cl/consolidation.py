"""Execute a consolidate node: what a method takes of a finished stage into the stages after it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from cl import adapters
from cl.evaluation import result_of
from cl.method import Learned, Method
from cl.mixing import Ledger
from cl.rows import Batch, Rows, collate, rows
from cl.settings import Train
from cl.token_loss import TokenLoss

MEMORY = "memory.safetensors"


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


def trained(
    ledger: Ledger, tasks: Sequence[str], sources: Mapping[str, Rows], size: int, separator: int
) -> Iterator[Batch]:
    """The rows of some tasks that the ledger says were trained on, each once, `size` at a time, in their stored order.

    The first column of a batch's `origin` counts the tasks.
    """
    for place, task in enumerate(tasks):
        for chosen in torch.from_numpy(ledger.accounts[task].trained_rows()).split(size):
            origin = torch.stack([torch.full_like(chosen, place), chosen], 1)
            yield collate((sources[task][row] for row in chosen.tolist()), separator, origin)


def _state(folder: Path, place: str | None) -> dict[str, torch.Tensor]:
    """The method's own state at the end of the stage, where it was active in it and has one."""
    stored = folder / "methods.safetensors"
    if place is None or not stored.exists():
        return {}
    prefix = f"{place}/"
    return {key.removeprefix(prefix): v for key, v in load_file(stored).items() if key.startswith(prefix)}
