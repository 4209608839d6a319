"""N-LoRA: keep each task's update sparse, so that updates do not collide.

Yang et al. 2024, arXiv 2410.10179, and its code, `PKU-YuanGroup/N-LoRA`:

    L = task loss + weight * sum over modules of ||dW_t||_1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError
from cl.methods.method import Method, Step, Trains

if TYPE_CHECKING:
    from torch import Tensor


def sparsity(a_NrI: Tensor, b_NOr: Tensor, form: Literal["paper", "code"] = "paper") -> Tensor:
    """Sum over N modules of ||B @ A||_1 [out, in] (`paper`), or of ||A @ B||_1 [r, r] (`code`, only if in = out)."""
    return (b_NOr @ a_NrI if form == "paper" else a_NrI @ b_NOr).abs().sum()


@dataclass(eq=False)
class NLora(Trains):
    """Penalise the L1 norm of the new adapter's update, once per optimizer step.

    Args:
        weight: coefficient of the penalty, the paper's lambda. The authors' scripts use 0.4 to 1.8 on T5.
        form: `paper`, or `code`: the public code multiplies the factors in the wrong order.

    The product of `code` exists for square modules only, so other modules are left out there. Needs `lora` with life
    `merge` or `stack`: one adapter that continues would lose what it knows. Modules of one shape are computed as one
    product; the dense updates make it expensive on large models. The method acts from the first task on.

    Keeps between tasks: nothing beside the adapters.
    """

    shardable: ClassVar[bool] = True

    weight: float = 0.4
    form: Literal["paper", "code"] = "paper"

    fresh: str = field(init=False, repr=False, default="")
    """Name of the new adapter."""

    def __post_init__(self) -> None:
        if self.weight < 0:
            raise UserError(f"weight: {self.weight} must be at least 0")

    def active(self, t: int) -> bool:
        """Act in every task, unless the weight is 0."""
        return self.weight > 0

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Refuse an adapter per task, which has no earlier update to avoid; warn about weight 0."""
        if any(other.adapter == "per_task" for other in others):
            raise UserError("adapters of life alone do not meet; give lora another life, or leave the penalty out")
        return [] if self.weight else ["weight 0 is equivalent to LoRA without it"]

    def prepare(self, model: Any, t: int) -> Any:
        """Find the fresh adapter.

        Raises:
            UserError: if there is no fresh adapter, or under `code` no square module.
        """
        self.fresh = f"t{t}"
        if not self._groups(model):
            raise UserError("n_lora: there is no fitting fresh adapter; put lora with life merge or stack before it")
        return model

    def _groups(self, model: Any) -> list[list[tuple[Tensor, Tensor]]]:
        """Factors A and B of the new adapter, grouped by the shape of their module."""
        from cl.models import adapters

        shapes: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for a, b, _ in adapters.low_rank(model, self.fresh).values():
            if self.form == "paper" or a.shape[1] == b.shape[0]:
                shapes.setdefault((b.shape[0], a.shape[1]), []).append((a, b))
        return list(shapes.values())

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """Return the weighted norm."""
        import torch

        parts = [
            sparsity(torch.stack([a for a, _ in group]), torch.stack([b for _, b in group]), self.form)
            for group in self._groups(at.model)
        ]
        return {"n_lora": self.weight * torch.stack(parts).sum()}
