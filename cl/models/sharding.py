"""Tensors of which each process of a stage holds some rows, as FSDP2 cuts parameters (`DTensor`, along dimension 0).

For all other tensors, `whole`, `like` and `local` are the identity, so a caller need not know whether a model is
sharded.
"""

from __future__ import annotations

from typing import Any, TypeGuard

from torch import Tensor
from torch.distributed.tensor import DTensor, Shard


def is_sharded(value: Any) -> TypeGuard[DTensor]:
    """Whether a tensor is spread over processes."""
    return isinstance(value, DTensor)


def whole(value: Tensor) -> Tensor:
    """The full tensor. Every process must call; each gets the gradient of its own rows."""
    return value.full_tensor() if is_sharded(value) else value


def local(value: Tensor) -> Tensor:
    """The rows that this process holds."""
    return value.to_local() if is_sharded(value) else value


def like(value: Tensor, other: Tensor) -> Tensor:
    """A full tensor, spread as `other` is; unchanged if `other` is not, or has another shape.

    Args:
        value: full tensor, equal in all processes. Each keeps its rows, without communication.
        other: tensor of the same shape.
    """
    if not is_sharded(other) or is_sharded(value) or value.shape != other.shape:
        return value
    return from_rows(value[rows(other)].to(other.device).clone(), other)


def rows(other: DTensor) -> slice:
    """The rows of a tensor that this process holds: equal chunks in order of rank, the last ones shorter or empty."""
    assert other.placements == (Shard(0),), f"sharded as {other.placements}, not along dimension 0 of one mesh"
    size = -(-other.shape[0] // other.device_mesh.size())
    first = min(other.device_mesh.get_local_rank() * size, other.shape[0])
    return slice(first, min(first + size, other.shape[0]))


def from_rows(own: Tensor, other: DTensor) -> DTensor:
    """A tensor spread as `other` is, from the rows of this process."""
    found: DTensor = DTensor.from_local(
        own, other.device_mesh, other.placements, run_check=False, shape=other.shape, stride=other.stride()
    )
    return found
