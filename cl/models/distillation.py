"""Distillation into a student, token by token: pure functions of probabilities.

Shapes: n tokens, V vocabulary, K sampled ids. With teacher's p, student's q, both softmax(logits / tau), the true next
token g and the teacher's first choice t, the *swapped* teacher p~ is p with the entries t and g exchanged (logit swap,
Mix-CPT, arXiv 2407.10804). Softmax commutes with the exchange and the entropy stays, so without any swapped tensor

    KL(p~ || q) = KL(p || q) + (p_t - p_g) (log q_t - log q_g)
    KL(q || p~) = KL(q || p) + (q_t - q_g) (log p_t - log p_g)

Sources: the exchange was read in the paper's reviews, not in the paper; the closed forms are derived here and tested
against explicit swaps. All values are per token, in nats; all slopes are by the student's logits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import torch
from torch import Tensor

from cl.models.losses import Criterion, Outputs

Direction = Literal["forward", "reverse"]


class Dense(NamedTuple):
    """What a teacher says of n tokens: log p [n, V]."""

    log_p: Tensor

    def choices(self, gold_n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Its first choice t [n], log p_t [n] and log p_g [n]."""
        top, first = self.log_p.max(-1)
        return first, top, _at(self.log_p, gold_n)


class Sampled(NamedTuple):
    """What is kept of it: ids [n, K] with weights [n, K] that sum to 1, p's entropy [n], t, log p_t, log p_g.

    Ids that were drawn from p, each of weight 1 / K, make sum(weights * f(ids)) an unbiased estimate of sum(p * f)
    (random sampling, arXiv 2503.16870); the K largest, renormalised, do not.
    """

    ids: Tensor
    weights: Tensor
    entropy: Tensor
    first: Tensor
    log_p_first: Tensor
    log_p_gold: Tensor

    def choices(self, gold_n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Its first choice t [n], log p_t [n] and log p_g [n]."""
        return self.first, self.log_p_first, self.log_p_gold


class Teacher(Protocol):
    """Whoever says what the learned tokens of some rows should be followed by."""

    def says(self, tokens: slice | Tensor, temperature: float) -> Dense | Sampled:
        """Of a part of the tokens, or of those with these numbers."""


class Model(NamedTuple):
    """A teacher whose hidden states, or logits, are at hand."""

    outputs: Outputs

    def says(self, tokens: slice | Tensor, temperature: float) -> Dense:
        """All of the vocabulary, in fp32; no gradient flows back."""
        with torch.no_grad():
            logits = self.outputs.logits(tokens).float()
            return Dense((logits if temperature == 1 else logits / temperature).log_softmax(-1))


class Divergence(NamedTuple):
    """Per token: kl [n] from the teacher as it is; swap [n], what the exchange adds; slope [n, V] of their sum.

    swapped [n]: whether the teacher's first choice is not the true token.
    """

    kl: Tensor
    swap: Tensor
    slope: Tensor
    swapped: Tensor


def divergence(
    log_q: Tensor, q: Tensor, teacher: Dense | Sampled, gold_n: Tensor, *, swap: bool, direction: Direction = "forward"
) -> Divergence:
    """Divergence of the student's q [n, V] from the teacher, both at one temperature, and its slope by logits / tau.

    forward: KL(p~ || q), slope q - p~; reverse: KL(q || p~), for which a sampled teacher does not know enough.
    """
    if direction == "reverse":
        assert isinstance(teacher, Dense), "only a teacher that says everything has a reverse divergence"
        kl, slope = _reverse(log_q, q, teacher)
    else:
        kl, slope = _forward(log_q, q, teacher)
    first, log_top, log_gold = teacher.choices(gold_n)
    swapped = first != gold_n
    added = torch.zeros_like(kl)
    if swap:
        pair = torch.stack([first, gold_n], -1)
        difference = log_top - log_gold if direction == "reverse" else log_top.exp() - log_gold.exp()
        of_q = (q if direction == "reverse" else log_q).gather(-1, pair)
        added = difference * (of_q[:, 0] - of_q[:, 1])
        if direction == "reverse":  # log p~ itself, and what softmax takes off every entry: the mean
            slope -= q * added[:, None]
            move = torch.stack([difference * of_q[:, 0], -difference * of_q[:, 1]], -1)
        else:
            move = torch.stack([difference, -difference], -1)
        slope.scatter_add_(-1, pair, move)
    return Divergence(kl, added, slope, swapped)


def _forward(log_q: Tensor, q: Tensor, teacher: Dense | Sampled) -> tuple[Tensor, Tensor]:
    """KL(p || q) [n] and q - p [n, V]."""
    if isinstance(teacher, Dense):
        p = teacher.log_p.exp()
        return _dot(p, teacher.log_p) - _dot(p, log_q), torch.sub(q, p, out=p)
    cross = (teacher.weights * log_q.gather(-1, teacher.ids)).sum(-1)
    return -teacher.entropy - cross, q.clone().scatter_add_(-1, teacher.ids, -teacher.weights)


def _reverse(log_q: Tensor, q: Tensor, teacher: Dense) -> tuple[Tensor, Tensor]:
    """KL(q || p) [n] and q (log q - log p - KL) [n, V]."""
    ratio = log_q - teacher.log_p
    kl = _dot(q, ratio)
    return kl, ratio.sub_(kl[:, None]).mul_(q)


@dataclass(frozen=True)
class Rule:
    """How a student is taught, beside its task loss L (cross-entropy): D is the divergence from the teacher.

    weight: w in L + w D, or, if convex, in (1 - w) L + w D; swap: of the swapped teacher; temperature: of both, tau;
    squared: multiply D by tau^2, which keeps the gradient's size where tau changes (Hinton et al. 2015, arXiv
    1503.02531, section 2).
    """

    weight: float
    swap: bool = False
    direction: Direction = "forward"
    temperature: float = 1.0
    squared: bool = False
    convex: bool = False


Tally = Callable[[Divergence, Tensor], None]
"""Is shown what came out at some tokens, and their numbers."""


def criterion(
    rule: Rule, teacher: Teacher, gold_N: Tensor, where_N: Tensor | None = None, tally: Tally | None = None
) -> Criterion:
    """The rule as a term of the fused loss; where: bool, the tokens at which it acts (None: all)."""

    def of_chunk(log_q: Tensor, q: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Value and slope at tokens from `start` on, 0 where the rule does not act."""
        numbers = torch.arange(start, start + len(log_q), device=log_q.device)
        if where_N is None or bool(where_N[numbers].all()):
            return of_tokens(log_q, q, numbers)
        chosen = where_N[numbers].nonzero()[:, 0]
        slope = torch.zeros_like(log_q)
        if not len(chosen):
            return log_q.new_zeros(()), slope
        value, own = of_tokens(log_q[chosen], q[chosen], numbers[chosen])
        return value, slope.index_copy_(0, chosen, own)

    def of_tokens(log_q: Tensor, q: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Value and slope at some tokens, at all of which the rule acts."""
        tau, gold = rule.temperature, gold_N[numbers]
        warm = log_q if tau == 1 else (log_q / tau).log_softmax(-1)
        says = teacher.says(numbers, tau)
        of = divergence(warm, q if tau == 1 else warm.exp(), says, gold, swap=rule.swap, direction=rule.direction)
        if tally is not None:
            tally(of, numbers)
        scale = rule.weight * (tau**2 if rule.squared else 1.0)
        value, slope = scale * (of.kl + of.swap).sum(), of.slope.mul_(scale / tau)
        if rule.convex:
            value = value + rule.weight * _at(log_q, gold).sum()
            slope.sub_(q, alpha=rule.weight).scatter_add_(
                -1, gold[:, None], slope.new_full((len(gold), 1), rule.weight)
            )
        return value, slope

    return of_chunk


def sample(log_p: Tensor, gold_n: Tensor, count: int, largest: bool = False) -> Sampled:
    """Keep `count` ids of each token's p [n, V]: drawn from it with replacement, or the largest ones, renormalised."""
    p = log_p.exp()
    entropy = -_dot(p, log_p)
    if largest:
        weights, ids = p.topk(count, -1)
        weights = weights / weights.sum(-1, keepdim=True)
    else:
        ids = torch.multinomial(p, count, replacement=True)
        weights = torch.full_like(ids, 1 / count, dtype=p.dtype)
    return Sampled(ids, weights, entropy, *Dense(log_p).choices(gold_n))


def _dot(left_nV: Tensor, right_nV: Tensor) -> Tensor:
    """Dot product of each row [n], as a matrix product, which stores no product of entries; autocast would round it."""
    with torch.autocast(left_nV.device.type, enabled=False):
        return (left_nV[:, None] @ right_nV[:, :, None])[:, 0, 0]


def _at(values_nV: Tensor, ids_n: Tensor) -> Tensor:
    return values_nV.gather(-1, ids_n[:, None])[:, 0]
