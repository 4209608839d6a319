"""Distillation from a teacher into a student, token by token: pure functions of probabilities.

Shapes: n tokens, V vocabulary, K sampled ids. Let p be the teacher's and q the student's probabilities, both
softmax(logits / tau), g the true next token and t the teacher's most likely token. The *swapped* teacher p~ is p with
the entries t and g exchanged (logit swap, Mix-CPT, arXiv 2407.10804). Softmax commutes with the exchange and the
entropy does not change, so no swapped tensor is needed:

    KL(p~ || q) = KL(p || q) + (p_t - p_g) (log q_t - log q_g)
    KL(q || p~) = KL(q || p) + (q_t - q_g) (log p_t - log p_g)

Sources: the exchange was read in the paper's reviews, not in the paper; the closed forms are derived here and tested
against explicit swaps. All values are per token, in nats; a slope is the gradient by the student's logits.
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
    """A teacher's full distribution at n tokens: log p [n, V]."""

    log_p: Tensor

    def choices(self, gold_n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Most likely token t [n], log p_t [n], and log p_g of the true token [n]."""
        top, first = self.log_p.max(-1)
        return first, top, _at(self.log_p, gold_n)


class Sampled(NamedTuple):
    """K ids of a teacher's distribution p at n tokens, with weights.

    With ids drawn from p, each with weight 1 / K, sum(weights * f(ids)) is an unbiased estimate of sum(p * f) (random
    sampling, arXiv 2503.16870). With the K largest entries, renormalised, it is biased.

    Args:
        ids: token ids [n, K].
        weights: weights of the ids [n, K], with sum 1.
        entropy: entropy of p [n].
        first: most likely token t [n].
        log_p_first: log p_t [n].
        log_p_gold: log p_g of the true token [n].
    """

    ids: Tensor
    weights: Tensor
    entropy: Tensor
    first: Tensor
    log_p_first: Tensor
    log_p_gold: Tensor

    def choices(self, gold_n: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Most likely token t [n], log p_t [n], and log p_g of the true token [n]."""
        return self.first, self.log_p_first, self.log_p_gold


class Teacher(Protocol):
    """A teacher of the learned tokens of some rows."""

    def says(self, tokens: slice | Tensor, temperature: float) -> Dense | Sampled:
        """Return the teacher's distribution at some tokens, given by a slice or numbers, at temperature tau."""


class Model(NamedTuple):
    """A teacher with known outputs (hidden states or logits)."""

    outputs: Outputs

    def says(self, tokens: slice | Tensor, temperature: float) -> Dense:
        """Return the full distribution in fp32, without gradient."""
        with torch.no_grad():
            logits = self.outputs.logits(tokens).float()
            return Dense((logits if temperature == 1 else logits / temperature).log_softmax(-1))


class Divergence(NamedTuple):
    """Divergence between teacher and student per token.

    Args:
        kl: divergence from the teacher without exchange [n].
        swap: increase by the exchange [n]; 0 without swap.
        slope: gradient of `kl + swap` with respect to logits / tau [n, V].
        swapped: whether the teacher's most likely token is not the true token [n].
    """

    kl: Tensor
    swap: Tensor
    slope: Tensor
    swapped: Tensor


def divergence(
    log_q: Tensor, q: Tensor, teacher: Dense | Sampled, gold_n: Tensor, *, swap: bool, direction: Direction = "forward"
) -> Divergence:
    """Compute the divergence between student and teacher at one temperature, and its slope by logits / tau.

    Args:
        log_q: log q of the student [n, V].
        q: q of the student [n, V].
        teacher: the teacher's distribution at the same tokens.
        gold_n: true next token g [n].
        swap: use the swapped teacher p~.
        direction: `forward`: KL(p~ || q), with slope q - p~; `reverse`: KL(q || p~), which needs a `Dense` teacher.
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
        if direction == "reverse":  # gradient of log p~ itself, and the mean that softmax subtracts from every entry
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
    """How the divergence D from the teacher is added to the task loss L (cross-entropy).

    Args:
        weight: w in L + w D, or with `convex` in (1 - w) L + w D.
        swap: use the swapped teacher.
        direction: direction of the divergence.
        temperature: tau of teacher and student.
        squared: multiply D by tau^2, which keeps the size of its gradient if tau changes (Hinton et al. 2015, arXiv
            1503.02531, section 2).
        convex: weight the task loss by 1 - w.
    """

    weight: float
    swap: bool = False
    direction: Direction = "forward"
    temperature: float = 1.0
    squared: bool = False
    convex: bool = False


Tally = Callable[[Divergence, Tensor], None]
"""Called with the divergence at some tokens, and the numbers of these tokens."""


def criterion(
    rule: Rule, teacher: Teacher, gold_N: Tensor, where_N: Tensor | None = None, tally: Tally | None = None
) -> Criterion:
    """Return the rule as a criterion of the fused loss.

    Args:
        rule: the rule.
        teacher: the teacher.
        gold_N: true next tokens [N].
        where_N: boolean mask of the tokens that the rule acts on [N]; None: all.
        tally: called with each computed divergence.
    """

    def of_chunk(log_q: Tensor, q: Tensor, start: int) -> tuple[Tensor, Tensor]:
        """Value and slope at the tokens from `start` on; 0 at tokens that the rule does not act on."""
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
        """Value and slope at tokens that the rule acts on."""
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
    """Keep `count` ids of the teacher's distribution at each token.

    Args:
        log_p: log p [n, V].
        gold_n: true next token g [n].
        count: number of ids K.
        largest: keep the K largest entries, renormalised, instead of K draws with replacement.
    """
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
    """Dot product of each row [n], as a matrix product that stores no n x V product; autocast would round it."""
    with torch.autocast(left_nV.device.type, enabled=False):
        return (left_nV[:, None] @ right_nV[:, :, None])[:, 0, 0]


def _at(values_nV: Tensor, ids_n: Tensor) -> Tensor:
    return values_nV.gather(-1, ids_n[:, None])[:, 0]
