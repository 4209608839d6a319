"""Losses as pure functions.

Shapes: N tokens, D hidden width, V vocabulary. Losses are sums, not means: the learner divides by the tokens of the
whole optimizer step, so neither micro-batches nor chunks change a loss beyond rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK_BYTES = 64 * 2**20  # size of the fp32 logits held at once

Criterion = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]
"""A term of the fused loss: maps log-probabilities [n, V], probabilities [n, V] (both fp32) and the number of the first
token to the summed value of the term and its gradient [n, V] with respect to the logits. It must neither overwrite nor
return its arguments."""


class Outputs(NamedTuple):
    """Outputs of a model at N learned tokens, with their graph.

    Attributes:
        values: hidden states before the output layer [N, D]; or the logits [N, V], if the architecture changes logits
            after the output layer.
        weight: weight of the output layer [V, D]; None if `values` are logits.
        targets: target ids [N].
    """

    values: Tensor
    weight: Tensor | None
    targets: Tensor

    @property
    def chunk(self) -> int:
        """Number of tokens whose logits are held at once."""
        return chunk_size(self.values.shape[-1] if self.weight is None else len(self.weight))

    def logits(self, part: slice | Tensor = slice(None)) -> Tensor:
        """Logits of all tokens [N, V], or of some tokens, given by a slice or numbers."""
        return self.values[part] if self.weight is None else F.linear(self.values[part], self.weight)


def nll(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """Summed cross-entropy in nats, computed in fp32."""
    return F.cross_entropy(logits_NV.float(), targets_N, reduction="sum")


def chunk_size(vocabulary: int) -> int:
    """Number of tokens, at least 64, whose fp32 logits take at most CHUNK_BYTES."""
    return max(64, CHUNK_BYTES // (4 * vocabulary))


def total_nll(outputs: Outputs) -> Tensor:
    """Summed cross-entropy in nats, computed in chunks if the logits of all tokens would exceed CHUNK_BYTES."""
    if outputs.weight is None or len(outputs.targets) <= outputs.chunk:
        return nll(outputs.logits(), outputs.targets)
    return fused(outputs, [])[0]


def row_nll(outputs: Outputs, learned_B: Tensor) -> Tensor:
    """Summed cross-entropy of each row [B] in nats, with its graph; holds the logits of all tokens at once.

    Args:
        outputs: outputs at the learned tokens of all rows, row after row.
        learned_B: number of learned tokens of each row [B].
    """
    each = F.cross_entropy(outputs.logits().float(), outputs.targets, reduction="none")
    numbers = torch.arange(len(learned_B), device=each.device).repeat_interleave(learned_B)
    return each.new_zeros(len(learned_B)).index_add(0, numbers, each)


def fused(outputs: Outputs, criteria: Sequence[Criterion], chunk: int | None = None) -> tuple[Tensor, Tensor]:
    """Summed cross-entropy in nats plus the criteria, in one pass over the logits, without a tensor of size N x V.

    The logits of a chunk of tokens are computed, turned into values and slopes, and dropped. The gradients of hidden
    states and weight (in fp32) are accumulated in the same pass, so the backward pass only scales them. Peak memory is
    chunk x V instead of 3 x N x V; nothing is computed twice, and criteria need no further logits or gradients. The
    idea is from Liger Kernel's fused linear cross-entropy (arXiv 2410.10989), here in plain PyTorch.

    Args:
        outputs: outputs at N learned tokens.
        criteria: terms that are added to the cross-entropy.
        chunk: tokens per chunk; by default the number of tokens whose logits take CHUNK_BYTES.

    Returns:
        The sum of all terms, and without a graph the value of each term [1 + criteria], cross-entropy first.
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
        """Compute the total and each term; the gradients are computed here and kept for `backward`."""
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
        """Return the kept gradients times the gradient of the total, and release them."""
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
    """Values [1 + criteria] of a chunk, and the slope of their sum [n, V]; overwrites the logits."""
    log_q = logits.sub_(logits.logsumexp(-1, keepdim=True))
    values = [-log_q.gather(-1, wanted).sum()]
    slope = log_q.exp() if criteria else log_q.exp_()  # holds the probabilities until all criteria are computed
    terms = [criterion(log_q, slope, start) for criterion in criteria]
    slope.scatter_add_(-1, wanted, slope.new_full(wanted.shape, -1.0))
    for value, more in terms:
        values.append(value)
        slope += more
    return torch.stack(values), slope
