"""Logit-swap self-distillation: learn a domain while staying close to what the model already says (Mix-CPT).

Jiang et al. 2024, arXiv 2407.10804. At each learned token, with the teacher's p, its first choice t, the true token g,
the student's q (softmax of logits / tau), and p~ = p with the entries t and g exchanged:

    D = KL(p~ || q) = KL(p || q) + (p_t - p_g) (log q_t - log q_g)      L = task loss + w D, or (1 - w) task loss + w D

The swapped target agrees with the task loss about the first choice and keeps the shape of the rest, so distillation
does not oppose what is new. Its slope by the student's logits (tau = 1, added) is (1 + w) q - onehot_g - w p~.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from cl.errors import UserError
from cl.methods.method import Method, MicroBatch, Teaching
from cl.models import distillation
from cl.models.distillation import Direction, Divergence
from cl.models.losses import Criterion

COUNT = 64  # ids that a sampled cache keeps of each token
Mode = Literal["frozen_copy", "adapter_off", "cache_hidden", "cache_sampled", "cache_top_k"]


class SelfDistillation(Method):
    """Distil the model as it was into the model that learns.

    weight: w; target: `swap` (Mix-CPT) or `plain`, the teacher as it is; combine: `add` or `convex`; direction:
    `forward` is KL(teacher || student); temperature: tau, of both; tau_squared: multiply D by tau^2, for equal
    gradients; positions: `all` learned tokens, those of the `domain` (the stage's own new rows) or of the `general`
    rest (mixed in or replayed); the others count in the mean all the same. teacher: the `base` model, or the `previous`
    one, with which the stage starts; mode: a `frozen_copy` of it, the learner with its `adapter_off`, or a cache, which
    later trials share: `cache_hidden` is exact but for fp16, `cache_sampled` keeps `count` (64) ids a token drawn at
    random (unbiased; arXiv 2503.16870), `cache_top_k` the likeliest (biased, to compare with); the swap is exact in
    all.
    `{target: plain, combine: convex, positions: general, weight: 1}` is the dual loss of MoL (arXiv 2505.12043).
    Source: the exchange of the two logits, the original model as teacher and the whole mixture were read in the paper's
    reviews; its equations and settings were not read. weight 0.3 is a third party's; forward, tau 1, all positions and
    the sum are guesses (0.75, 0.6, 0.75, 0.5), hence the switches.
    Public code that this avoids: `reduction="batchmean"` on [B, T, V], which makes the weight T times as large; ignored
    labels gathered out of range; the vocabulary copied twice; a quantised second model as the teacher.
    Keeps between tasks: nothing.
    """

    def __init__(
        self,
        weight: float = 0.3,
        target: Literal["swap", "plain"] = "swap",
        combine: Literal["add", "convex"] = "add",
        direction: Direction = "forward",
        temperature: float = 1.0,
        tau_squared: bool = False,
        positions: Literal["all", "domain", "general"] = "all",
        teacher: Literal["base", "previous"] = "base",
        mode: Mode = "frozen_copy",
        count: int | None = None,
    ) -> None:
        super().__init__()
        if weight < 0 or temperature <= 0 or (count is not None and count < 1):
            raise UserError(
                f"weight {weight} must be at least 0, temperature {temperature} above 0, count {count} >= 1"
            )
        if combine == "convex" and weight > 1:
            raise UserError(f"weight: {weight} is no share of the loss; give at most 1, or combine: add")
        sampled = mode in ("cache_sampled", "cache_top_k")
        if count is not None and not sampled:
            raise UserError(f"count: {count} has no effect with mode {mode}; remove it")
        if direction == "reverse" and sampled:
            raise UserError(f"direction: reverse needs all that the teacher says; mode {mode} keeps some ids")
        if tau_squared and temperature == 1:
            raise UserError("tau_squared: has no effect at temperature 1; remove one of the two")
        self.rule = distillation.Rule(
            weight, target == "swap", direction, temperature, squared=tau_squared, convex=combine == "convex"
        )
        self.positions = positions
        self.teaching = Teaching(teacher, mode, count or COUNT, temperature)
        self.sums: dict[str, Tensor] = {}

    def active(self, t: int) -> bool:
        """Not with weight 0."""
        return self.rule.weight > 0

    def check(self, others: Sequence[Method]) -> None:
        """Positions apart need a method that mixes something in."""
        if self.positions != "all" and all(type(other).mixture is Method.mixture for other in others):
            raise UserError(f"positions: {self.positions} has no effect: nothing is mixed in or replayed; use all")

    def warnings(self) -> list[str]:
        """Settings under which nothing is distilled, or nothing else learned."""
        if self.rule.weight == 0:
            return ["weight 0 is equivalent to training without distillation"]
        if self.rule.convex and self.rule.weight == 1 and self.positions == "all" and not self.rule.swap:
            return ["weight 1 leaves nothing of the task loss: the model learns to stay as it is"]
        return []

    def teacher(self, t: int) -> Teaching | None:
        """The one that the settings name."""
        return self.teaching

    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        """The weighted divergence at the tokens in question."""
        assert batch.teacher is not None
        domain = self._domain(batch)
        where = None if self.positions == "all" else domain if self.positions == "domain" else ~domain

        def tally(of: Divergence, numbers: Tensor) -> None:
            for stream, at in (("domain", domain[numbers]), ("general", ~domain[numbers])):
                shown = {"tokens": at, "kl": of.kl[at], "swap": of.swap[at], "swap_rate": of.swapped[at]}
                for name, values in shown.items():
                    self.sums[f"{stream}/{name}"] = self.sums.get(f"{stream}/{name}", 0) + values.sum()

        rule = distillation.criterion(self.rule, batch.teacher(), batch.outputs.targets, where, tally)
        return {"self_distillation": rule}

    def figures(self) -> dict[str, float]:
        """Mean divergence, mean of what the swap adds and share of tokens that are swapped, by stream."""
        sums, self.sums = {name: float(value) for name, value in self.sums.items()}, {}
        return {
            f"self_distillation/{stream}/{name}": sums[f"{stream}/{name}"] / sums[f"{stream}/tokens"]
            for stream in ("domain", "general")
            for name in ("kl", "swap", "swap_rate")
            if sums.get(f"{stream}/tokens")
        }

    def _domain(self, batch: MicroBatch) -> Tensor:
        """Which learned tokens are of the stage's own new rows, bool [N]: all where nobody knows."""
        device, found = batch.batch.ids.device, batch.batch
        if found.origin is None:
            return torch.ones(len(batch.outputs.targets), dtype=torch.bool, device=device)
        own = torch.tensor([not reading.beside for reading in batch.readings], device=device)
        return own[found.origin[:, 0]].repeat_interleave(found.learned_by_row().to(device))
