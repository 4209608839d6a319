"""Losses as pure functions.

Shapes: N tokens, D hidden width, V vocabulary. Sums, not means: the learner divides by the tokens of the
whole optimizer step, so neither micro-batches nor chunks change a loss beyond rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 64 * 2**20  # fp32 logits held at once by `linear_nll`


def nll(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Summed cross-entropy in nats, computed in fp32."""
    return F.cross_entropy(logits_NV.float(), targets_N, reduction="sum")


def chunk_size(vocabulary: int) -> int:
    """Tokens per chunk such that the fp32 logits of a chunk take at most CHUNK_BYTES."""
    return max(64, CHUNK_BYTES // (4 * vocabulary))


@torch.compiler.disable  # type: ignore[untyped-decorator]  # a loop over chunks gains nothing from being traced
def linear_nll(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, chunk: int) -> Tensor:
    """Summed cross-entropy of `hidden @ weight.T` in nats without ever holding N x V logits.

    Logits of `chunk` tokens at a time are formed, turned into their loss and its gradient, and dropped; the
    gradients with respect to hidden and weight are accumulated on the way (weight in fp32), so the backward
    pass only scales them. Peak memory: chunk x V instead of 3 x N x V; nothing is computed twice. The idea is
    that of Liger Kernel's fused linear cross-entropy (arXiv 2410.10989), in plain PyTorch.
    """
    total: Tensor = _LinearNLL.apply(hidden_ND, weight_VD, targets_N, chunk)  # type: ignore[no-untyped-call]
    return total


class _LinearNLL(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> Tensor:
        total = hidden.new_zeros((), dtype=torch.float32)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        grad_hidden = torch.empty_like(hidden) if wants_hidden else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if wants_weight else None
        compute = (
            torch.get_autocast_dtype(hidden.device.type)
            if torch.is_autocast_enabled(hidden.device.type)
            else hidden.dtype
        )
        cast_weight = weight.to(compute)
        for start in range(0, hidden.shape[0], chunk):
            piece, wanted = hidden[start : start + chunk].to(compute), targets[start : start + chunk]
            logits = (piece @ cast_weight.T).float()
            log_z = logits.logsumexp(-1, keepdim=True)
            total += (log_z.squeeze(-1) - logits.gather(-1, wanted[:, None]).squeeze(-1)).sum()
            if not (wants_hidden or wants_weight):
                continue
            slope = logits.sub_(log_z).exp_()  # softmax, in place of the logits
            slope[torch.arange(len(wanted), device=wanted.device), wanted] -= 1.0
            slope = slope.to(compute)
            if grad_hidden is not None:
                grad_hidden[start : start + chunk] = slope @ cast_weight
            if grad_weight is not None:
                if compute == torch.float32:
                    grad_weight.addmm_(slope.T, piece)  # accumulates without a second V x D tensor
                else:
                    grad_weight += slope.T @ piece
        ctx.gradients = (grad_hidden, grad_weight.to(weight.dtype) if grad_weight is not None else None)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (scale,) = grads
        grad_hidden, grad_weight = ctx.gradients
        ctx.gradients = None
        return (
            None if grad_hidden is None else grad_hidden * scale,
            None if grad_weight is None else grad_weight * scale,
            None,
            None,
        )
