"""Checkpoints of an unfinished train node. A node that is restored after a crash continues bit for bit.

    checkpoint/000120/  model, optimizer, methods, random: safetensors; state.json: step, points, seconds;
                        checksums.json: SHA-256 of the other files

A checkpoint is written under a temporary name, forced to the disk, and renamed when complete. The two newest are kept:
where the checksums tell that the newest is damaged, the one before is taken.

Of a sharded model (FSDP) each process writes its rows beside the files of the first process, such as
`model.00001.safetensors`, and reads its rows again; another number of processes cuts the rows of all files anew.
`cl.training.checkpoint_writer` says when, and beside the training.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from cl import durable
from cl.methods.method import Trains
from cl.models import sharding
from cl.training import distributed
from cl.training import optimizer as optimizers
from cl.training.shards import Shards

KEPT = 2  # checkpoints
STATE = "state.json"

Files = dict[str, dict[str, Tensor]]
"""Tensors by file and name."""


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Optimizer state as tensors, whole in the first process: see `cl.training.optimizer.tensors`."""
    named = distributed.collected(optimizers.tensors(optimizer))
    return {name: value.contiguous() for name, value in named.items()}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Inverse of `optimizer_tensors`, for an optimizer over the same parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def sharded(key: str, value: Tensor) -> Tensor:
        index = key.partition("/")[0]
        return sharding.like(value, parameters[int(index)]) if index.isdigit() else value

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


def files(model: nn.Module, optimizer: torch.optim.Optimizer, methods: Sequence[Trains]) -> Files:
    """What this process writes: its rows of sharded tensors, and in the first process all other tensors.

    Args:
        model: the model; only trained parameters and buffers are stored.
        optimizer: the optimizer.
        methods: the methods in order.
    """
    parts = {
        "model": _untied(_changing(model)),
        "optimizer": optimizers.tensors(optimizer),
        "methods": method_tensors(methods),
        "random": random_state(),
    }
    found: Files = {}
    for part, tensors in parts.items():
        sharded = {name: value for name, value in tensors.items() if sharding.is_sharded(value)}
        if distributed.rank() == 0:
            found[f"{part}.safetensors"] = {name: tensors[name] for name in tensors if name not in sharded}
        if sharded:
            found[f"{part}.{distributed.rank():05d}.safetensors"] = {
                name: sharding.local(value) for name, value in sharded.items()
            }
    return found


def begin(folder: Path, step: int) -> None:
    """Make the temporary folder of a checkpoint. Every process must call."""
    if distributed.rank() == 0:
        new = folder / f"{step:09d}.new"
        shutil.rmtree(new, ignore_errors=True)  # left by a process that was killed while writing
        new.mkdir(parents=True)
    distributed.broadcast(None)


def write(
    folder: Path, step: int, own: Files, extra: Mapping[str, Any], ended: Callable[[], bool] = lambda: False
) -> None:
    """Write a checkpoint that has begun; once complete, it replaces all but the newest of the older checkpoints.

    Every process must call; the first one completes the checkpoint when all have written their files.

    Args:
        folder: folder of the checkpoints.
        step: number of optimizer steps done.
        own: this process's files.
        extra: JSON data to store with the step.
        ended: whether the training has failed, so that other processes may write no more.

    Raises:
        OSError: if another process could not write.
    """
    new = folder / f"{step:09d}.new"
    try:
        told = {"sums": _written(new, own, {"step": step, **extra})}
    except BaseException as error:
        distributed.announced(f"checkpoint/{step}", json.dumps({"error": str(error)}), ended)
        raise
    found = [json.loads(each) for each in distributed.announced(f"checkpoint/{step}", json.dumps(told), ended)]
    if failed := [each["error"] for each in found if "error" in each]:
        raise OSError(f"a process could not write the checkpoint of step {step}: {failed[0]}")
    if found:
        _complete_with(new, {name: sha256 for each in found for name, sha256 in each["sums"].items()})


def _written(new: Path, own: Files, state: Mapping[str, Any]) -> dict[str, str]:
    """Write this process's files and force them to the disk; SHA-256 by name."""
    for name, tensors in own.items():
        save_file({key: value.contiguous() for key, value in tensors.items()}, new / name)
    if distributed.rank() == 0:
        (new / STATE).write_text(json.dumps(state), encoding="utf-8")
    names = [*own, STATE] if distributed.rank() == 0 else list(own)
    for name in names:
        durable.force(new / name)
    return {name: durable.checksum(new / name) for name in names}


def _complete_with(new: Path, sums: Mapping[str, str]) -> None:
    """Seal a checkpoint whose files are all written, give it its name, and remove older ones."""
    folder, done = new.parent, new.with_suffix("")
    durable.seal(new, sums)
    shutil.rmtree(done, ignore_errors=True)  # damaged, and made again
    durable.rename(new, done)
    for old in set(folder.iterdir()) - set(_complete(folder)[:KEPT]):
        shutil.rmtree(old)


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    methods: Sequence[Trains],
    extra: dict[str, Any],
) -> None:
    """Write a checkpoint and return when it is complete: see `files` and `write`."""
    begin(folder, step)
    write(folder, step, files(model, optimizer, methods), extra)


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
    model.load_state_dict(_tied(Shards(path, "model"), _changing(model)), strict=False)
    parameters = {str(i): p for i, p in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    moments = Shards(path, "optimizer")
    load_optimizer(optimizer, {key: moments.like(key, parameters.get(key.partition("/")[0])) for key in moments})
    kept = Shards(path, "methods")
    load_methods(methods, {key: kept.like(key) for key in kept}, model.device)
    restore_random(load_file(path / "random.safetensors"))
    state: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
    return state


def _untied(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors without duplicates of one storage, because safetensors refuses tied weights."""
    return {names[-1]: weights[names[-1]] for names in _sharing(weights)}


def _tied(stored: Shards, full: dict[str, Tensor]) -> dict[str, Tensor]:
    """Inverse of `_untied`: stored tensors under all names that share a storage, sharded as in `full`."""
    found: dict[str, Tensor] = {}
    for names in _sharing(full):
        for known in names:
            if known in stored:
                found |= dict.fromkeys(names, stored.like(known, full[known]))
    return {name: found[name] for name in full}


def _sharing(weights: Mapping[str, Tensor]) -> list[list[str]]:
    """Groups of names that share a storage."""
    found: dict[int, list[str]] = {}
    for name, value in weights.items():
        own = sharding.local(value)
        found.setdefault(own.data_ptr() if own.numel() else id(value), []).append(name)
    return list(found.values())


def _changing(model: nn.Module) -> dict[str, Tensor]:
    """Trained parameters and buffers by name. Frozen weights are not stored: they come from the parent state."""
    frozen = {name for name, value in model.named_parameters(remove_duplicate=False) if not value.requires_grad}
    return {name: value for name, value in model.state_dict().items() if name not in frozen}
