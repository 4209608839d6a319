"""RegLoRA: keep a new task's update small where earlier tasks' updates were large.

Chen et al. 2025 (SEFE), arXiv 2505.02486, and its code, read as in the repository `jinpeng0528/SEFE`. With A [r, in],
B [out, r] of a module, dW = B @ A without the factor alpha / r:

    key elements of task t:  the k = int(keep * out * in) entries of |dW| that are largest, in each module
    L_reg = 1/modules * sum over modules of  mean over key elements (i, j) of all earlier tasks of |dW_ij|
    L     = task loss + weight * L_reg

This is an L1 pull of the *new* update to 0 at these entries: the updates of the earlier tasks are in the merged base
weights.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError
from cl.methods.method import Learned, Method, Remembers, Step, Trains

if TYPE_CHECKING:
    from torch import Tensor

    from strategies.adapters.protected_entries import Protected


@dataclass(eq=False)
class RegLora(Trains, Remembers):
    """Penalise the new adapter's update at the key elements of the earlier updates, once per optimizer step.

    Args:
        keep: share of each module's entries that is protected per task. The paper's M is 2 %.
        weight: coefficient of the penalty, the paper's lambda.
        multiplicity: `counts`: an entry that n tasks protect counts n times, as in the paper; `union`: once.
        scaled: penalise alpha / r * B @ A instead of B @ A.

    `weight` depends on the scale of the update: with `scaled` the same pressure needs weight * r / alpha. Needs `lora`
    with life `merge` or `stack`: one adapter that continues would be pulled away from its knowledge.

    Deviations: products in fp32 (the official code ranks bf16 products, which have ties); only protected entries are
    computed, those of all modules by one kernel; the penalty is computed outside the layers, so neither micro-batches
    nor recomputation repeat it.

    Keeps between tasks: a bit per entry and task (`counts`), or one bit per entry (`union`).
    """

    shardable: ClassVar[bool] = True
    memory_settings: ClassVar[tuple[str, ...]] = ("keep", "multiplicity")

    keep: float = 0.02
    weight: float = 2500.0
    multiplicity: Literal["counts", "union"] = "counts"
    scaled: bool = False

    counts: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)
    """By module: uint8 [out, in], how many tasks protect each entry."""
    fresh: str = field(init=False, repr=False, default="")
    """Name of the new adapter."""
    protected: Protected | None = field(init=False, repr=False, default=None)
    """Built in the first step, when the model is on the device on which it is trained."""

    def __post_init__(self) -> None:
        if not 0 <= self.keep <= 1 or self.weight < 0:
            raise UserError(f"keep {self.keep} must be a share from 0 to 1, weight {self.weight} at least 0")

    def active(self, t: int) -> bool:
        """Do not act at t = 1, where nothing is protected, nor without effect."""
        return t > 1 and self.keep > 0 and self.weight > 0

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Refuse an adapter per task, which has no earlier update to avoid; warn if nothing is penalised."""
        if any(other.adapter == "per_task" for other in others):
            raise UserError("adapters of life alone do not meet; give lora another life, or leave the penalty out")
        off = [name for name in ("keep", "weight") if getattr(self, name) == 0]
        return [f"{name} 0 is equivalent to LoRA without it" for name in off]

    def remember(self, memory: Mapping[str, Tensor]) -> None:
        """Count how many tasks protect each entry, by module.

        Raises:
            UserError: if no entry at all is protected.
        """
        import torch

        from strategies.adapters.protected_entries import unpack

        for key, bits in memory.items():
            module, place = key.rsplit("/", 1)
            height, width = map(int, place.partition("@")[2].split("x"))
            mask = unpack(bits, (height, width)).to(torch.uint8)
            self.counts[module] = self.counts.get(module, torch.zeros_like(mask)) + mask
        if not any(count.any() for count in self.counts.values()):
            raise UserError(
                f"reglora: keep: {self.keep} protects no entry of these small modules; raise it, or set it to 0"
            )

    def prepare(self, model: Any, t: int) -> Any:
        """Find the fresh adapter.

        Raises:
            UserError: if there is no fresh adapter.
        """
        from cl.models import adapters

        if not adapters.low_rank(model, f"t{t}"):
            raise UserError("reglora: there is no fresh adapter; put lora with life merge or stack before it")
        self.fresh, self.protected = f"t{t}", None
        return model

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """Return the weighted penalty; nothing if no task was learned before, as in `scratch`."""
        import torch

        from cl.models import adapters
        from strategies.adapters.protected_entries import Protected

        if not self.counts:
            return {}
        found = adapters.low_rank(at.model, self.fresh)
        factors = [found[name] for name in self.counts]
        b = torch.cat([scale * b if self.scaled else b for _, b, scale in factors])
        a = torch.cat([a.T for a, _, _ in factors])
        if self.protected is None:
            self.protected = Protected(list(self.counts.values()), b.device)
        return {"reglora": self.weight * self.protected(b, a)}

    def consolidate(self, learned: Learned) -> dict[str, Tensor]:
        """Add the key elements of the task just learned to those of the earlier tasks, as bits."""
        from cl.models import adapters
        from strategies.adapters.protected_entries import key_elements, pack

        found = dict(learned.memory)
        for name, (a, b, _) in adapters.low_rank(learned.model, adapters.names(learned.model, "trained")[-1]).items():
            mask = key_elements(b.detach().float() @ a.detach().float(), self.keep).cpu()
            key = f"{name}/{learned.t if self.multiplicity == 'counts' else 'all'}@{mask.shape[0]}x{mask.shape[1]}"
            found[key] = pack(mask) | found[key] if key in found else pack(mask)
            if not mask.any():
                warnings.warn(f"reglora: keep {self.keep} protects nothing in {name} {tuple(mask.shape)}", stacklevel=2)
        return found
