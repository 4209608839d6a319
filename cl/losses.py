"""Losses as pure functions.

Shapes: N tokens, D hidden width, V vocabulary. Sums, not means: the learner divides by the tokens of the
whole optimizer step, so neither micro-batches nor chunks change a loss beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 64 * 2**20  # fp32 logits held at once

Criterion = Callable[[Tensor, int], tuple[Tensor, Tensor]]
"""From fp32 logits [n, V] of the tokens that begin with that number: their summed loss, and its slope [n, V]. The
logits may be overwritten."""


class Outputs(NamedTuple):
    """What a model makes of N learned tokens, with its graph.

    values: hidden states [N, D] before the output layer, and its weight [V, D]; or, for an architecture that scales or
    bends its logits, the logits [N, V] themselves, and weight None. targets: [N].
    """

    values: Tensor
    weight: Tensor | None
    targets: Tensor

    @property
    def chunk(self) -> int:
        """Tokens whose logits are held at once."""
        return chunk_size(self.values.shape[-1] if self.weight is None else len(self.weight))

    def logits(self, part: slice = slice(None)) -> Tensor:
        """Logits [N, V] of all tokens, or of a part of them."""
        return self.values[part] if self.weight is None else F.linear(self.values[part], self.weight)


def nll(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Summed cross-entropy in nats, computed in fp32."""
    return F.cross_entropy(logits_NV.float(), targets_N, reduction="sum")


def chunk_size(vocabulary: int) -> int:
    """Tokens per chunk such that the fp32 logits of a chunk take at most CHUNK_BYTES."""
    return max(64, CHUNK_BYTES // (4 * vocabulary))


def total_nll(outputs: Outputs) -> Tensor:
    """Summed cross-entropy in nats, in chunks where the logits of all tokens would exceed CHUNK_BYTES."""
    if outputs.weight is None or len(outputs.targets) <= outputs.chunk:
        return nll(outputs.logits(), outputs.targets)
    total: Tensor = linear_nll(outputs.values, outputs.weight, outputs.targets, outputs.chunk)
    return total


def linear_nll(hidden_ND: Tensor, weight_VD: Tensor, targets_N: Tensor, chunk: int) -> Tensor:
    """Summed cross-entropy of `hidden @ weight.T` in nats without ever holding N x V logits (see `chunked`)."""

    def criterion(logits: Tensor, start: int) -> tuple[Tensor, Tensor]:
        wanted = targets_N[start : start + len(logits)]
        log_z = logits.logsumexp(-1, keepdim=True)
        total = (log_z.squeeze(-1) - logits.gather(-1, wanted[:, None]).squeeze(-1)).sum()
        slope = logits.sub_(log_z).exp_()  # softmax, in place of the logits
        slope[torch.arange(len(wanted), device=wanted.device), wanted] -= 1.0
        return total, slope

    total: Tensor = chunked(hidden_ND, weight_VD, criterion, chunk)
    return total


def distillation(student: Outputs, teacher: Outputs, temperature: float) -> Tensor:
    """Summed T^2 KL(p || q) in nats of the teacher's p = softmax(z / T) and the student's q, over all tokens.

    T^2 keeps the gradient's size where T changes (Hinton et al. 2015, arXiv 1503.02531, section 2). Nothing flows into
    the teacher; neither's logits are held for more than a chunk of tokens.
    """

    def criterion(logits: Tensor, start: int) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            wanted = teacher.logits(slice(start, start + len(logits))).float()
        log_p = (wanted / temperature).log_softmax(-1)
        log_q = logits.div_(temperature).log_softmax(-1)
        p = log_p.exp()
        return temperature**2 * (p * (log_p - log_q)).sum(), (log_q.exp_() - p) * temperature

    total: Tensor = chunked(student.values, student.weight, criterion, student.chunk)
    return total


@torch.compiler.disable  # type: ignore[untyped-decorator]  # a loop over chunks gains nothing from being traced
def chunked(values: Tensor, weight_VD: Tensor | None, criterion: Criterion, chunk: int) -> Tensor:
    """Sum of a criterion of `values @ weight.T` without ever holding N x V logits.

    Logits of `chunk` tokens at a time are formed, turned into their loss and its gradient, and dropped; the
    gradients with respect to hidden and weight are accumulated on the way (weight in fp32), so the backward
    pass only scales them. Peak memory: chunk x V instead of 3 x N x V; nothing is computed twice. The idea is
    that of Liger Kernel's fused linear cross-entropy (arXiv 2410.10989), in plain PyTorch.
    values: hidden states [N, D], or logits [N, V] with weight None.
    """
    total: Tensor = _Chunked.apply(values, weight_VD, criterion, chunk)  # type: ignore[no-untyped-call]
    return total


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, weight: Tensor | None, criterion: Criterion, chunk: int) -> Tensor:
        total = values.new_zeros((), dtype=torch.float32)
        wants_values, wants_weight = ctx.needs_input_grad[:2]
        grad_values = torch.empty_like(values) if wants_values else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if weight is not None and wants_weight else None
        device = values.device.type
        compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else values.dtype
        cast_weight = None if weight is None else weight.to(compute)
        for start in range(0, len(values), chunk):
            piece = values[start : start + chunk].to(compute)
            logits = piece.float().clone() if cast_weight is None else (piece @ cast_weight.T).float()
            value, slope = criterion(logits, start)
            total += value
            if grad_values is not None:
                flat = slope.to(compute)
                grad_values[start : start + chunk] = flat if cast_weight is None else flat @ cast_weight
            if grad_weight is not None:
                if compute == torch.float32:
                    grad_weight.addmm_(slope.T, piece)  # accumulates without a second V x D tensor
                else:
                    grad_weight += slope.to(compute).T @ piece
        ctx.gradients = grad_values, None if grad_weight is None or weight is None else grad_weight.to(weight.dtype)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (scale,) = grads
        grad_values, grad_weight = ctx.gradients
        ctx.gradients = None
        return (
            None if grad_values is None else grad_values * scale,
            None if grad_weight is None else grad_weight * scale,
            None,
            None,
        )
