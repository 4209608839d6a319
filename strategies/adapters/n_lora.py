"""N-LoRA: keep each task's update sparse, so that updates do not collide.

Yang et al. 2024, arXiv 2410.10179, and its code, `PKU-YuanGroup/N-LoRA`:

    L = task loss + weight * sum over modules of ||dW_t||_1
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from cl.errors import UserError
from cl.methods.method import Method, Step
from cl.models import adapters


def sparsity(a_NrI: Tensor, b_NOr: Tensor, form: Literal["paper", "code"] = "paper") -> Tensor:
    """Sum over N modules of ||B @ A||_1 [out, in] (`paper`), or of ||A @ B||_1 [r, r] (`code`, only where in = out)."""
    return (b_NOr @ a_NrI if form == "paper" else a_NrI @ b_NOr).abs().sum()


class NLora(Method):
    """Penalise the L1 norm of the new adapter's update, once per optimizer step.

    weight: lambda (the authors': 0.4 to 1.2 on T5); form: `paper`, or `code`: the public code multiplies the factors in
    the wrong order, which exists only for square modules, so others are left out there. Needs `lora` with life `merge`
    or `stack`: one adapter that goes on learning would lose what it knows.
    Modules of one shape are one product; the dense updates make it dear on large models. Active from the first task on.
    Keeps between tasks: nothing beside the adapters.
    """

    def __init__(self, weight: float = 0.4, form: Literal["paper", "code"] = "paper") -> None:
        super().__init__()
        if weight < 0:
            raise UserError(f"weight: {weight} must be at least 0")
        self.weight, self.form = weight, form

    def active(self, t: int) -> bool:
        """In every task, unless it has no effect."""
        return self.weight > 0

    def check(self, others: Sequence[Method]) -> None:
        """Not where each task has an adapter of its own: there is no earlier update to keep clear of."""
        if any(other.alone() for other in others):
            raise UserError("adapters of life alone do not meet; give lora another life, or leave the penalty out")

    def warnings(self) -> list[str]:
        """Settings under which nothing is penalised."""
        return [] if self.weight else ["weight 0 is equivalent to LoRA without it"]

    def prepare(self, model: Any, t: int) -> Any:
        """Group the fresh adapter's modules by shape. Raises UserError where there is none, or no square one."""
        shapes: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for a, b, _ in adapters.low_rank(model, f"t{t}").values():
            if self.form == "paper" or a.shape[1] == b.shape[0]:
                shapes.setdefault((b.shape[0], a.shape[1]), []).append((a, b))
        if not shapes:
            raise UserError("n_lora: there is no fitting fresh adapter; put lora with life merge or stack before it")
        self.groups = list(shapes.values())
        return model

    def step_terms(self, at: Step) -> dict[str, Tensor]:
        """Weight times the norm."""
        parts = [
            sparsity(torch.stack([a for a, _ in group]), torch.stack([b for _, b in group]), self.form)
            for group in self.groups
        ]
        return {"n_lora": self.weight * torch.stack(parts).sum()}
