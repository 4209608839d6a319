"""Linear algebra of InfLoRA: which directions of a module's inputs earlier tasks used, and which are free.

Shapes: B rows, T tokens, D input width, F free directions, K protected directions.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from cl.data.batches import Batch
from cl.data.rows import IGNORE

NOISE = torch.finfo(torch.float32).eps
"""Share of a moment below which nothing is signal: the moment was summed in fp32."""


def real_tokens(batch: Batch) -> Tensor:
    """Mask [B, T] of the input tokens that are not padding: those up to the last learned target of their row."""
    if batch.targets is None:
        return torch.ones_like(batch.ids[:, 1:], dtype=torch.bool)
    return (batch.targets != IGNORE).flip(1).cumsum(1).flip(1) > 0


def spectrum(moment_DD: Tensor, free_DF: Tensor) -> tuple[Tensor, Tensor]:
    """Energies [F] in descending order, and orthonormal directions [D, F], of a moment inside the span of `free`."""
    values, vectors = torch.linalg.eigh(free_DF.T @ moment_DD @ free_DF)
    return values.flip(0).clamp(min=0), free_DF @ vectors.flip(1)


def leading(energies_F: Tensor, total: Tensor, threshold: float) -> int:
    """Smallest number of first directions such that at most 1 - threshold of `total` is left in the others."""
    left = energies_F.flip(0).cumsum(0).flip(0)  # in a direction and those after it
    return int((left > (1 - threshold + NOISE) * total).sum())


def complement(basis_DK: Tensor) -> Tensor:
    """Orthonormal basis [D, D - K] of the directions orthogonal to all columns of an orthonormal basis."""
    whole: Tensor = torch.linalg.qr(basis_DK, mode="complete").Q
    return whole[:, basis_DK.shape[1] :]


def packed(free_DF: Tensor) -> tuple[str, Tensor]:
    """Name and tensor that are stored for the free directions: themselves (`free`), or, if fewer, the `old` ones."""
    width, free = free_DF.shape
    return ("free", free_DF) if 2 * free <= width else ("old", complement(free_DF))


def unpacked(memory: Mapping[str, Tensor], module: str, like: Tensor) -> Tensor:
    """Inverse of `packed`: the free directions of a module, in the dtype of `like` [D, D]; all if none are stored."""
    if f"free/{module}" in memory:
        return memory[f"free/{module}"].to(like)
    old = memory.get(f"old/{module}", like[:, :0])
    return complement(old.to(like))
