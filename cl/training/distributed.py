"""Collective operations of the processes that train one node together, each on its part of every batch.

With one process, every function is the identity. With DDP, each process holds the whole model; with FSDP2
(`fully_shard`), a shard of each tensor. Both average gradients over processes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from cl.data.batches import Batch
from cl.models import backbone
from cl.models.forward import TokenLoss
from cl.models.losses import Outputs
from cl.models.sharding import is_sharded, whole

T = TypeVar("T")
LOOK = 0.05  # seconds between two looks at what other processes have announced


def world() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """0-based number of this process."""
    return dist.get_rank() if world() > 1 else 0


def all_reduce(value: Tensor | int, device: torch.device) -> Tensor | int:
    """Sum a number over processes.

    Args:
        value: this process's number.
        device: device of this process, on which the sum is returned.
    """
    if world() == 1:
        return value
    total = torch.as_tensor(value, device=device).clone()
    dist.all_reduce(total)
    return total


def broadcast(value: T) -> T:
    """Value of the first process, for decisions that must be equal in all processes, such as those by the clock."""
    if world() == 1:
        return value
    found: list[Any] = [value]
    dist.broadcast_object_list(found)
    first: T = found[0]
    return first


def agreed(wanted: bool, step: int) -> bool:
    """Whether all processes end after this step, because one of them wants it. Each asks after each step.

    The one that wants it names the step after this: no process can finish that step without its gradients, so each
    has read the name by then. This is one look-up a step where a reduction would wait for the device.
    """
    if world() == 1:
        return wanted
    board = dist.distributed_c10d._get_default_store()
    if wanted:
        board.compare_set("cl-ends", "", str(step + 1))
    return bool(board.check(["cl-ends"])) and int(board.get("cl-ends")) <= step


def announced(key: str, value: str, ended: Callable[[], bool]) -> list[str]:
    """Values that all processes have announced under a key, by rank. None where it is `ended`, and in other processes.

    For threads beside the training: operations of two threads on one process group could meet in another order in
    each process. So the first process looks again and again at the board on which each writes its own value.

    Args:
        key: name of what is announced, new for each call.
        value: this process's value.
        ended: whether to wait no longer, because a process may never announce.
    """
    if world() == 1:
        return [value]
    board = dist.distributed_c10d._get_default_store()
    board.set(f"cl-{key}/{rank()}", value)
    awaited = [f"cl-{key}/{place}" for place in range(world())]
    while rank() == 0 and not ended():
        if board.check(awaited):
            return [board.get(each).decode() for each in awaited]
        time.sleep(LOOK)
    return []


def gathered(value: T) -> list[T]:
    """Values of all processes in order of rank."""
    if world() == 1:
        return [value]
    found: list[Any] = [None] * world()
    dist.all_gather_object(found, value)
    return found


def all_gather_sum(steps: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum each step's losses and terms over processes.

    A process may lack a term, for example a loss on rows of which the process got none.

    Args:
        steps: records of optimizer steps, as in `Learner.last`; `loss` and `terms` are this process's parts.
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


def collected(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Collect sharded tensors in the first process, one by one on its CPU. Every process must call.

    Returns:
        In the first process full tensors; in other processes the shards. Tensors that are not sharded stay unchanged.
    """
    found: dict[str, Tensor] = {}
    for name, value in tensors.items():
        full, sharded = whole(value), is_sharded(value)
        found[name] = (full.cpu() if rank() == 0 else value) if sharded else full
    return found


def gather(loss: TokenLoss) -> None:
    """Replace sharded parameters by full parameters in the first process, so that the model can be stored.

    Tied parameters stay tied. The model cannot be trained afterwards.
    """
    reshard(loss)
    made: dict[int, nn.Parameter] = {}
    for module in loss.model.modules():
        held: dict[str, Any] = dict(module._parameters)
        for name, value in held.items():
            if is_sharded(value):
                if id(value) not in made:
                    (full,) = collected({name: value}).values()
                    made[id(value)] = nn.Parameter(full.detach(), value.requires_grad)
                module._parameters[name] = made[id(value)]


def reshard(loss: TokenLoss) -> None:
    """Free the full parameters that a forward pass without a backward pass has gathered."""
    for module in loss.root.modules() if loss.root is not None else ():
        if isinstance(module, FSDPModule):
            module.reshard()


def shard(loss: TokenLoss, mesh: DeviceMesh) -> None:
    """Shard a model over a mesh layer by layer, and replace `loss.outputs` by a call that runs FSDP's hooks.

    Layers are the units of the model's backbone. Embeddings and the output layer are
    gathered from their forward pass to their backward pass.
    """
    for layer in backbone.layers(loss.model, loss.backbone):
        fully_shard(layer, mesh=mesh)
    root: Any = fully_shard(_Root(loss), mesh=mesh)
    loss.root, loss.outputs = root, lambda batch: Outputs(*root(batch))


class _Root(nn.Module):
    """Module whose forward pass is that of the loss, for FSDP's hooks; they find tensors in tuples only."""

    def __init__(self, loss: TokenLoss) -> None:
        super().__init__()
        self.model, self.loss = loss.model, loss

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor | None, Tensor]:
        """Values, weight and targets of the learned tokens."""
        found = self.loss.compute(batch)
        # FSDP adds hooks to the returned tensors; a parameter itself would accumulate the hooks of all steps
        weight = None if found.weight is None else found.weight.view_as(found.weight)
        return found.values, weight, found.targets
