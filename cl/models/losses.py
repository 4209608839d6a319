"""Losses as pure functions.

Shapes: N tokens, D hidden width, V vocabulary. Sums, not means: the learner divides by the tokens of the
whole optimizer step, so neither micro-batches nor chunks change a loss beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 64 * 2**20  # fp32 logits held at once

Criterion = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""From the log-probabilities and the probabilities [n, V], fp32, that a model gives at the tokens which begin with that
number: their summed value, and its slope [n, V] by the logits. Neither argument may be overwritten or returned."""


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

    def logits(self, part: slice | Tensor = slice(None)) -> Tensor:
        """Logits [N, V] of all tokens, or of a part of them: a slice, or numbers."""
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
    return fused(outputs, [])[0]


def row_nll(outputs: Outputs, learned_B: Tensor) -> Tensor:
    """Summed cross-entropy of each row [B] in nats, with its graph; learned: tokens of each. Holds all logits."""
    each = F.cross_entropy(outputs.logits().float(), outputs.targets, reduction="none")
    numbers = torch.arange(len(learned_B), device=each.device).repeat_interleave(learned_B)
    return each.new_zeros(len(learned_B)).index_add(0, numbers, each)


def fused(outputs: Outputs, criteria: Sequence[Criterion], chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy in nats plus the criteria, in one pass over the logits, of which it never holds N x V.

    Returns the sum of all, and without a graph the value of each: [1 + criteria]. Logits of a chunk of tokens are
    formed, turned into values and slopes, and dropped; the gradients with respect to hidden states and weight are
    accumulated on the way (weight in fp32), so the backward pass only scales them. Peak memory: chunk x V instead of
    3 x N x V; nothing is computed twice, and a criterion costs neither logits nor gradients of its own. The idea is
    that of Liger Kernel's fused linear cross-entropy (arXiv 2410.10989), in plain PyTorch.
    chunk: tokens at a time; by default so many that their logits take CHUNK_BYTES.
    """
    found: tuple[Tensor, Tensor] = _fused(*outputs, criteria, chunk or outputs.chunk)
    return found


@torch.compiler.disable  # type: ignore[untyped-decorator]  # a loop over chunks gains nothing from being traced
def _fused(*arguments: Any) -> Any:
    return _Chunked.apply(*arguments)  # type: ignore[no-untyped-call]


class _Chunked(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, weight: Tensor | None, targets: Tensor, criteria: Sequence[Criterion], chunk: int
    ) -> tuple[Tensor, Tensor]:
        """The total and each term; gradients are made on the way and kept for `backward`."""
        each = values.new_zeros(1 + len(criteria), dtype=torch.float32)
        wants_values, wants_weight = ctx.needs_input_grad[:2]
        grad_values = torch.empty_like(values) if wants_values else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if weight is not None and wants_weight else None
        device = values.device.type
        compute = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else values.dtype
        cast_weight = None if weight is None else weight.to(compute)
        for start in range(0, len(values), chunk):
            piece = values[start : start + chunk].to(compute)
            logits = piece.float().clone() if cast_weight is None else (piece @ cast_weight.T).float()
            found, slope = _slope(logits, targets[start : start + chunk, None], criteria, start)
            each += found
            if grad_values is not None:
                flat = slope.to(compute)
                grad_values[start : start + chunk] = flat if cast_weight is None else flat @ cast_weight
            if grad_weight is not None:
                if compute == torch.float32:
                    grad_weight.addmm_(slope.T, piece)  # accumulates without a second V x D tensor
                else:
                    grad_weight += slope.to(compute).T @ piece
        ctx.gradients = grad_values, None if grad_weight is None or weight is None else grad_weight.to(weight.dtype)
        ctx.mark_non_differentiable(each)
        return each.sum(), each

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        """The kept gradients, times that of the total; they are given away."""
        scale, _ = grads
        grad_values, grad_weight = ctx.gradients
        ctx.gradients = None
        return (
            None if grad_values is None else grad_values * scale,
            None if grad_weight is None else grad_weight * scale,
            None,
            None,
            None,
        )


def _slope(logits: Tensor, wanted: Tensor, criteria: Sequence[Criterion], start: int) -> tuple[Tensor, Tensor]:
    """Values [1 + criteria] and the slope of their sum [n, V] of a chunk, whose logits are overwritten."""
    log_q = logits.sub_(logits.logsumexp(-1, keepdim=True))
    values = [-log_q.gather(-1, wanted).sum()]
    slope = log_q.exp() if criteria else log_q.exp_()  # the probabilities, until all criteria have seen them
    terms = [criterion(log_q, slope, start) for criterion in criteria]
    slope.scatter_add_(-1, wanted, slope.new_full(wanted.shape, -1.0))
    for value, more in terms:
        values.append(value)
        slope += more
    return torch.stack(values), slope
