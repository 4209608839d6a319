"""Logit-swap self-distillation: learn a domain while staying close to the model's own predictions (Mix-CPT).

Jiang et al. 2024, arXiv 2407.10804. At each learned token, with the teacher's p, its first choice t, the true token g,
the student's q (softmax of logits / tau), and p~ = p with the entries t and g exchanged:

    D = KL(p~ || q) = KL(p || q) + (p_t - p_g) (log q_t - log q_g)      L = task loss + w D, or (1 - w) task loss + w D

The swapped target agrees with the task loss about the first choice and keeps the shape of the rest, so distillation
does not oppose new knowledge. Its slope by the student's logits (tau = 1, added) is (1 + w) q - onehot_g - w p~.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Literal

from cl.errors import UserError
from cl.methods.method import Method, MicroBatch, PlansStages, Teaching, Trains, overrides

if TYPE_CHECKING:
    from torch import Tensor

    from cl.models.distillation import Divergence, Rule
    from cl.models.losses import Criterion

COUNT = 64
"""Ids per token in a cache that keeps some of them."""
KEEPS_SOME = ("cache_sampled", "cache_top_k")
"""Modes whose cache keeps some ids per token."""


@dataclass(eq=False)
class SelfDistillation(PlansStages, Trains):
    """Distil an earlier model into the model that learns.

    Args:
        weight: w. A third party's value is 0.3.
        target: `swap` (Mix-CPT), or `plain`: the teacher's distribution unchanged.
        combine: `add` the divergence to the task loss, or combine both as `convex`.
        direction: `forward`: KL(teacher || student); `reverse`: KL(student || teacher).
        temperature: tau of both models.
        tau_squared: multiply D by tau^2, for equal gradients.
        positions: tokens at which D is computed: `all` learned tokens, `domain` or `general`.
        teacher: the `base` model, or the `previous` one, with which the stage starts.
        mode: how the teacher's predictions are obtained.
        count: ids per token that `cache_sampled` and `cache_top_k` keep. None: 64.

    `domain` are the stage's own new rows, `general` the rows that are mixed in or replayed. The mean is taken over all
    learned tokens in each case.

    Modes:

    - `frozen_copy`: a frozen copy of the teacher;
    - `adapter_off`: the model itself without its adapter;
    - `cache_hidden`: a cache, which is exact but for fp16;
    - `cache_sampled`: a cache of `count` ids per token, drawn at random (unbiased; arXiv 2503.16870);
    - `cache_top_k`: a cache of the `count` likeliest ids per token (biased, for comparison).

    Later trials share a cache. The swap is exact in all modes.
    `{target: plain, combine: convex, positions: general, weight: 1}` is the dual loss of MoL (arXiv 2505.12043).

    Source: the exchange of the two logits, the original model as teacher and the whole mixture were read in the paper's
    reviews; its equations and settings were not read. forward, tau 1, all positions and the sum are guesses (0.75, 0.6,
    0.75, 0.5), hence the settings.
    Public code that this avoids: `reduction="batchmean"` on [B, T, V], which makes the weight T times as large; ignored
    labels gathered out of range; the vocabulary copied twice; a quantised second model as the teacher.

    Keeps between tasks: nothing.
    """

    shardable: ClassVar[bool] = True

    weight: float = 0.3
    target: Literal["swap", "plain"] = "swap"
    combine: Literal["add", "convex"] = "add"
    direction: Literal["forward", "reverse"] = "forward"
    temperature: float = 1.0
    tau_squared: bool = False
    positions: Literal["all", "domain", "general"] = "all"
    teacher: Literal["base", "previous"] = "base"
    mode: Literal["frozen_copy", "adapter_off", "cache_hidden", "cache_sampled", "cache_top_k"] = "frozen_copy"
    count: int | None = None

    sums: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)
    """Sums over tokens since `figures` was last called, by `STREAM/NAME`."""

    def __post_init__(self) -> None:
        if self.weight < 0 or self.temperature <= 0 or (self.count is not None and self.count < 1):
            wrong = f"weight {self.weight} must be at least 0, temperature {self.temperature} above 0"
            raise UserError(f"{wrong}, count {self.count} >= 1")
        if self.combine == "convex" and self.weight > 1:
            raise UserError(f"weight: {self.weight} is no share of the loss; give at most 1, or combine: add")
        if self.count is not None and self.mode not in KEEPS_SOME:
            raise UserError(f"count: {self.count} has no effect with mode {self.mode}; remove it")
        if self.direction == "reverse" and self.mode in KEEPS_SOME:
            raise UserError(f"direction: reverse needs all that the teacher says; mode {self.mode} keeps some ids")
        if self.tau_squared and self.temperature == 1:
            raise UserError("tau_squared: has no effect at temperature 1; remove one of the two")

    @property
    def rule(self) -> Rule:
        """The divergence as `cl.models.distillation` computes it."""
        from cl.models.distillation import Rule

        swap, convex = self.target == "swap", self.combine == "convex"
        return Rule(self.weight, swap, self.direction, self.temperature, self.tau_squared, convex)

    def active(self, t: int) -> bool:
        """Do not act with weight 0."""
        return self.weight > 0

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Refuse `positions` without a method that mixes rows in; warn if nothing is distilled, or nothing learned."""
        mixes = any(isinstance(other, PlansStages) and overrides(other, PlansStages.mixture) for other in others)
        if self.positions != "all" and not mixes:
            raise UserError(f"positions: {self.positions} has no effect: nothing is mixed in or replayed; use all")
        if self.weight == 0:
            return ["weight 0 is equivalent to training without distillation"]
        if (self.combine, self.weight, self.positions, self.target) == ("convex", 1, "all", "plain"):
            return ["weight 1 leaves nothing of the task loss: the model learns to stay as it is"]
        return []

    def teaching(self, t: int) -> Teaching | None:
        """Return the teacher that the settings name."""
        return Teaching(self.teacher, self.mode, self.count or COUNT, self.temperature)

    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        """Return the weighted divergence at the tokens in question."""
        from cl.models import distillation

        assert batch.teacher is not None
        domain = self._domain(batch)
        where = None if self.positions == "all" else domain if self.positions == "domain" else ~domain

        def tally(of: Divergence, numbers: Tensor) -> None:
            for stream, at in (("domain", domain[numbers]), ("general", ~domain[numbers])):
                shown = {"tokens": at, "kl": of.kl[at], "swap": of.swap[at], "swap_rate": of.swapped[at]}
                for name, values in shown.items():
                    self.sums[f"{stream}/{name}"] = self.sums.get(f"{stream}/{name}", 0) + values.sum()

        term = distillation.criterion(self.rule, batch.teacher(), batch.outputs.targets, where, tally)
        return {"self_distillation": term}

    def figures(self) -> dict[str, float]:
        """Return, by stream, the mean divergence, the mean that the swap adds, and the share of swapped tokens."""
        sums, self.sums = {name: float(value) for name, value in self.sums.items()}, {}
        return {
            f"self_distillation/{stream}/{name}": sums[f"{stream}/{name}"] / sums[f"{stream}/tokens"]
            for stream in ("domain", "general")
            for name in ("kl", "swap", "swap_rate")
            if sums.get(f"{stream}/tokens")
        }

    def _domain(self, batch: MicroBatch) -> Tensor:
        """Mask [N] of the learned tokens that belong to the stage's own new rows; all if the origin is unknown."""
        import torch

        device, found = batch.batch.ids.device, batch.batch
        if found.origin is None:
            return torch.ones(len(batch.outputs.targets), dtype=torch.bool, device=device)
        own = torch.tensor([not reading.beside for reading in batch.readings], device=device)
        return own[found.origin[:, 0]].repeat_interleave(found.learned_by_row().to(device))
