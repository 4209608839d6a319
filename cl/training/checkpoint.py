"""Checkpoints of an unfinished train node. A node that is restored after a crash continues bit for bit.

    checkpoint/000120/  model, optimizer, methods, random: safetensors; state.json: step, points, seconds;
                        checksums.json: SHA-256 of the other files

A checkpoint is written under a temporary name, forced to the disk, and renamed when complete. The two newest are kept:
where the checksums tell that the newest is damaged, the one before is taken.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cl import durable
from cl.methods.method import Trains
from cl.training import distributed
from cl.training import optimizer as optimizers

KEPT = 2  # checkpoints


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Optimizer state as tensors, whole in the first process: see `cl.training.optimizer.tensors`."""
    named = distributed.collected(optimizers.tensors(optimizer))
    return {name: value.contiguous() for name, value in named.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`, for an optimizer over the same parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def sharded(key: str, value: Tensor) -> Tensor:
        index = key.partition("/")[0]
        return distributed.distribute_like(value, parameters[int(index)]) if index.isdigit() else value

    optimizers.load(optimizer, {key: sharded(key, value) for key, value in tensors.items()})


def method_tensors(methods: Sequence[Trains]) -> dict[str, Tensor]:
    """State of all methods as tensors named `INDEX/NAME`, with the method's index in the list."""
    return {
        f"{place}/{name}": value.detach().contiguous()
        for place, method in enumerate(methods)
        for name, value in method.state_dict().items()
    }


def load_methods(methods: Sequence[Trains], tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Inverse of `method_tensors`, with tensors on a device. A method without stored state stays unchanged."""
    for place, method in enumerate(methods):
        prefix = f"{place}/"
        own = {key.removeprefix(prefix): value.to(device) for key, value in tensors.items() if key.startswith(prefix)}
        if own:
            method.load_state_dict(own)


def random_state() -> dict[str, Tensor]:
    """State of every torch random generator in use.

    Several processes set a seed in every step, so the states of GPU generators are not needed.
    """
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available() and distributed.world() == 1:
        state |= {f"cuda.{i}": value for i, value in enumerate(torch.cuda.get_rng_state_all())}
    return state


def restore_random(state: Mapping[str, Tensor]) -> None:
    """Inverse of `random_state`."""
    torch.set_rng_state(state["cpu"])
    for name, value in state.items():
        place = int(name.removeprefix("cuda.")) if name.startswith("cuda.") else None
        if place is not None and place < torch.cuda.device_count():  # there may have been more GPUs
            torch.cuda.set_rng_state(value, place)


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    methods: Sequence[Trains],
    extra: dict[str, Any],
) -> None:
    """Write a checkpoint; once complete, it replaces all but the newest of the older checkpoints.

    Every process must call. The first process writes full tensors, so any number of processes can resume.

    Args:
        folder: folder of the checkpoints.
        step: number of optimizer steps done.
        model: the model; only trained parameters and buffers are stored.
        optimizer: the optimizer.
        methods: the methods in order.
        extra: JSON data to store with the step.
    """
    weights = {n: value.contiguous() for n, value in distributed.collected(_untied(_changing(model))).items()}
    moments = optimizer_tensors(optimizer)
    if distributed.rank():
        return
    new = folder / f"{step:09d}.new"
    shutil.rmtree(new, ignore_errors=True)  # left by a process that was killed while writing
    new.mkdir(parents=True)
    save_file(weights, new / "model.safetensors")
    save_file(moments, new / "optimizer.safetensors")
    save_file(method_tensors(methods), new / "methods.safetensors")
    save_file(random_state(), new / "random.safetensors")
    (new / "state.json").write_text(json.dumps({"step": step, **extra}), encoding="utf-8")
    durable.seal(new)
    done = folder / f"{step:09d}"
    shutil.rmtree(done, ignore_errors=True)  # damaged, and made again
    durable.rename(new, done)
    for old in set(folder.iterdir()) - set(_complete(folder)[:KEPT]):
        shutil.rmtree(old)


def _complete(folder: Path) -> list[Path]:
    """Checkpoints that were renamed, newest first."""
    found = folder.iterdir() if folder.exists() else ()
    return sorted((path for path in found if path.name.isdigit()), reverse=True)


def newest(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint that is whole, or None; and a sentence about each newer one that is damaged."""
    told: list[str] = []
    for path in _complete(folder):
        if not (wrong := durable.broken(path)):
            return path, told
        told.append(f"the checkpoint at step {int(path.name)} is damaged ({wrong[0]}) and not used")
    return None, told


def restore(path: Path, model: Any, optimizer: torch.optim.Optimizer, methods: Sequence[Trains]) -> dict[str, Any]:
    """Load a checkpoint into model, optimizer, methods and random generators.

    Returns:
        The stored `extra`, with the number of steps under `step`.
    """
    model.load_state_dict(_tied(load_file(path / "model.safetensors"), _changing(model)), strict=False)
    load_optimizer(optimizer, load_file(path / "optimizer.safetensors"))
    load_methods(methods, load_file(path / "methods.safetensors"), model.device)
    restore_random(load_file(path / "random.safetensors"))
    state: dict[str, Any] = json.loads((path / "state.json").read_text(encoding="utf-8"))
    return state


def _untied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors without duplicates of one storage, because safetensors refuses tied weights."""
    return {names[-1]: weights[names[-1]] for names in _sharing(weights)}


def _tied(weights: dict[str, Tensor], full: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `_untied`: stored tensors under all names that share a storage, sharded as in `full`."""
    stored = {name: weights[known] for names in _sharing(full) for known in names if known in weights for name in names}
    return {name: distributed.distribute_like(stored[name], value) for name, value in full.items()}


def _sharing(weights: Mapping[str, Tensor]) -> list[list[str]]:
    """Groups of names that share a storage."""
    found: dict[int, list[str]] = {}
    for name, value in weights.items():
        own = distributed.local(value)
        found.setdefault(own.data_ptr() if own.numel() else id(value), []).append(name)
    return list(found.values())


def _changing(model: nn.Module) -> dict[str, Tensor]:
    """Trained parameters and buffers by name. Frozen weights are not stored: they come from the parent state."""
    frozen = {name for name, value in model.named_parameters(remove_duplicate=False) if not value.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}
