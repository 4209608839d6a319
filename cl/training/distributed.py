"""Processes that compute one train node together: each its part of every batch, with one of them to speak for all.

Everything here is the identity where there is one process. With DDP each holds the whole model, with FSDP2
(`fully_shard`) a shard of each tensor; both make the mean over processes of gradients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from cl.data.batches import Batch
from cl.models.forward import TokenLoss
from cl.models.losses import Outputs

T = TypeVar("T")


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which one this is, from 0."""
    return dist.get_rank() if world() > 1 else 0


def summed(value: Tensor | int, device: torch.device) -> Tensor | int:
    """The sum over processes of a number on their devices."""
    if world() == 1:
        return value
    total = torch.as_tensor(value, device=device).clone()
    dist.all_reduce(total)
    return total


def agreed(value: T) -> T:
    """What the first process says: clocks differ, and all must do the same."""
    if world() == 1:
        return value
    found: list[Any] = [value]
    dist.broadcast_object_list(found)
    said: T = found[0]
    return said


def gathered(value: T) -> list[T]:
    """What every process says, in their order."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, value)
    return found


def added(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """What happened in some optimizer steps: the parts of all processes added up, where each has its part of a loss.

    A process may lack a term that another has, as a loss on rows of which it got none.
    """
    if world() == 1:
        return list(steps)
    named = [{name: float(value) for name, value in _parts(step)} for step in steps]
    found = []
    for step, parts in zip(steps, zip(*gathered(named), strict=True), strict=True):
        sums: dict[str, float] = {}
        for part in parts:
            for name, value in part.items():
                sums[name] = sums.get(name, 0.0) + value
        terms = {name: torch.tensor(value) for name, value in sums.items() if name}
        found.append(step | {"loss": torch.tensor(sums[""]) if "" in sums else None, "terms": terms})
    return found


def _parts(step: dict[str, Any]) -> list[tuple[str, Tensor]]:
    loss = [] if step["loss"] is None else [("", step["loss"])]
    return [*loss, *step["terms"].items()]


def whole(value: Tensor) -> Tensor:
    """A tensor of which each process may hold a shard. Every process must ask."""
    return value.full_tensor() if isinstance(value, DTensor) else value


def collected(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Whole tensors in the first process, moved one by one to its CPU; the others, who must ask, keep their shards.

    Tensors that are no shards stay as they are.
    """
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        full = whole(value)
        sharded = isinstance(value, DTensor)
        found[name] = (full.cpu() if rank() == 0 else value) if sharded else full
    return found


def like(value: Tensor, other: Tensor) -> Tensor:
    """A whole tensor cut as another one is."""
    if not isinstance(other, DTensor) or isinstance(value, DTensor) or value.shape != other.shape:
        return value
    found: Tensor = distribute_tensor(value.to(other.device), other.device_mesh, other.placements)
    return found


def here(value: Tensor) -> Tensor:
    """The part of a tensor that this process holds."""
    return value.to_local() if isinstance(value, DTensor) else value


def gather(loss: TokenLoss) -> None:
    """Make sharded parameters whole again in the first process, tied ones tied, for a model that is only stored."""
    reshard(loss)
    made: dict[int, nn.Parameter] = {}
    for module in loss.model.modules():
        held: dict[str, Any] = dict(module._parameters)
        for name, value in held.items():
            if isinstance(value, DTensor):
                if id(value) not in made:
                    (full,) = collected({name: value}).values()
                    made[id(value)] = nn.Parameter(full.detach(), value.requires_grad)
                module._parameters[name] = made[id(value)]


def reshard(loss: TokenLoss) -> None:
    """Let go what a forward pass without a backward pass has made whole; a backward pass does so itself."""
    for module in loss.root.modules() if loss.root is not None else ():
        if isinstance(module, FSDPModule):
            module.reshard()


def shard(loss: TokenLoss, mesh: DeviceMesh) -> None:
    """Shard a model over a mesh, layer by layer, and let its outputs be asked for by way of FSDP's hooks.

    What the layers are says the model itself (`_no_split_modules` of transformers). All else, embeddings and the output
    layer, is whole from its forward to its backward pass.
    """
    names = set(getattr(loss.model, "_no_split_modules", None) or ())
    for module in list(loss.model.modules()):
        if type(module).__name__ in names:
            fully_shard(module, mesh=mesh)
    root: Any = fully_shard(_Root(loss), mesh=mesh)

    loss.root, loss.outputs = root, lambda batch: Outputs(*root(batch))


class _Root(nn.Module):
    """A model whose forward pass is that of the loss, which FSDP hooks into; it looks for tensors in tuples only."""

    def __init__(self, loss: TokenLoss) -> None:
        super().__init__()
        self.model, self.loss = loss.model, loss

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor]:
        """Values, weight and targets of the learned tokens."""
        found = self.loss.compute(batch)
        # FSDP hooks into what it finds here; a parameter itself would keep the hooks of all steps
        weight = None if found.weight is None else found.weight.view_as(found.weight)
        return found.values, weight, found.targets
