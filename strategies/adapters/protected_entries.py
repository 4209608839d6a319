"""RegLoRA's mathematics: the largest entries of updates, stored as bits, and a penalty on these entries alone."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

# Torch warns once about the storage format; the two products used here are tested against dense ones.
warnings.filterwarnings("ignore", message="Sparse CSR tensor support is in beta state")


def key_elements(update: Tensor, keep: float) -> Tensor:
    """Mask [out, in] of the int(keep * out * in) largest entries of |update|; of equal entries the first."""
    size, count = update.abs().flatten(), int(keep * update.numel())
    if not count:
        return torch.zeros_like(update, dtype=torch.bool)
    least = size.topk(count, sorted=False).values.min()  # topk takes any of equal ones, so they are chosen below
    mask = size > least
    mask[(size == least).nonzero()[: count - int(mask.sum())]] = True
    return mask.view_as(update)


def penalty(update: Tensor, counts: Tensor) -> Tensor:
    """Mean of |update| [..., out, in] over the last two dimensions, weighted by the counts; 0 if all counts are 0.

    With counts of how often an entry was protected, this is the mean over the official list, in which an entry
    protected n times occurs n times; with 0 and 1 it is the mean over the union. If nothing is protected, the official
    code would give NaN.
    """
    total = counts.sum((-2, -1))
    return (update.abs() * counts).sum((-2, -1)) / total.clamp(min=1)


def pack(mask: Tensor) -> Tensor:
    """Bits of a boolean mask, eight to a byte, uint8 [ceil(n / 8)]."""
    flat = torch.nn.functional.pad(mask.flatten().to(torch.uint8), (0, -mask.numel() % 8)).view(-1, 8)
    return (flat << torch.arange(8, dtype=torch.uint8)).sum(1).to(torch.uint8)


def unpack(bits: Tensor, shape: tuple[int, int]) -> Tensor:
    """Inverse of `pack`: a boolean mask of the given shape."""
    flat = (bits[:, None] >> torch.arange(8, dtype=torch.uint8)) & 1
    return flat.flatten()[: shape[0] * shape[1]].view(shape).bool()


class Protected:
    """The protected entries of many modules as one block-diagonal pattern, so that one kernel computes them all.

    Rows are the outputs of all modules, R in all; columns are their inputs, C in all. The weights [entries] turn the
    penalty into a sum: count / (sum of the module's counts) / modules.

    Args:
        counts: of each module [out, in], how often each entry is protected.
        device: device of the factors.
    """

    def __init__(self, counts: Sequence[Tensor], device: torch.device) -> None:
        rows, columns, weights = [], [], []
        row = column = 0
        for count in counts:
            at = count.nonzero()
            rows.append(at[:, 0] + row)
            columns.append(at[:, 1] + column)
            weights.append(
                count[at[:, 0], at[:, 1]].float() / (count.sum(dtype=torch.float32) * len(counts)).clamp(min=1)
            )
            row, column = row + count.shape[0], column + count.shape[1]
        where, across = torch.cat(rows), torch.cat(columns)
        self.order = torch.argsort(across, stable=True).to(device)  # entries by column: the transposed pattern
        self.size, self.weights = (row, column), torch.cat(weights).to(device)
        self.pattern = _offsets(where, row).to(device), across.to(device)
        self.transposed = _offsets(across[self.order.cpu()], column).to(device), where.to(device)[self.order]

    def matrix(self, values: Tensor) -> Tensor:
        """Sparse [R, C] with a value for each entry."""
        return torch.sparse_csr_tensor(*self.pattern, values, self.size, check_invariants=False)

    def flipped(self, values: Tensor) -> Tensor:
        """The transpose of `matrix`, [C, R]."""
        return torch.sparse_csr_tensor(*self.transposed, values[self.order], self.size[::-1], check_invariants=False)

    def __call__(self, b_Rr: Tensor, a_Cr: Tensor) -> Tensor:
        """Mean over modules of the `penalty` of each one's B @ A, from stacked B and stacked, transposed A."""
        total: Tensor = _Entries.apply(b_Rr, a_Cr, self)  # type: ignore[no-untyped-call]
        return total


def _offsets(sorted_indices: Tensor, size: int) -> Tensor:
    """Start of each row in a list of sorted row numbers, [size + 1]."""
    return torch.cat([torch.zeros(1, dtype=torch.int64), torch.bincount(sorted_indices, minlength=size).cumsum(0)])


class _Entries(torch.autograd.Function):
    """Weighted sum of |B @ A| over given entries, which alone are computed, forward (SDDMM) and backward (SpMM)."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, a: Tensor, protected: Protected) -> Tensor:
        empty = protected.matrix(torch.zeros_like(protected.weights))
        values = torch.sparse.sampled_addmm(empty, b, a.T).values()
        ctx.slope, ctx.protected = values.sign() * protected.weights, protected
        ctx.save_for_backward(b, a)
        total: Tensor = (values.abs() * protected.weights).sum()
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        b, a = ctx.saved_tensors
        slope = ctx.slope * grads[0]
        return ctx.protected.matrix(slope) @ a, ctx.protected.flipped(slope) @ b, None
