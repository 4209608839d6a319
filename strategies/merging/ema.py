"""Exponential moving average of the states at the ends of tasks.

    mean_1 = theta_1,   mean_t = beta * mean_{t-1} + (1 - beta) * theta_t

The recursion of Tarvainen & Valpola 2017, arXiv 1703.01780 (recalled, not read), at the ends of tasks instead of steps.
So decays of 0.99 and more, which are usual for steps, are meaningless here. The authors' code limits beta in the first
steps to 1 - 1/(step + 1), which binds here for beta above 0.5; ours has no such limit. The recursion is written out as
a sum with weights that add up to 1, and so it acts on task vectors as it does on states.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cl.errors import UserError
from cl.methods.method import Merges, Method
from strategies.merging.base import entrywise

if TYPE_CHECKING:
    from torch import Tensor

    from strategies.merging.base import Vector


def weights(beta: float, states: int) -> Tensor:
    """Weight of each state in the average, oldest first [states]: beta^(T-1), then (1 - beta) beta^(T-t)."""
    import torch

    return torch.tensor([(1 - beta if t else 1.0) * beta ** (states - 1 - t) for t in range(states)])


@dataclass(eq=False)
class EMA(Merges):
    """Evaluate the moving average of all states so far; training continues from the newest state.

    Args:
        beta: weight of the older average, per task, in [0, 1). 0.5, our choice, is the plain mean of two states.

    Needs states that follow one another: a life of `lora` that continues, or full fine-tuning. With `scratch` it would
    average models that have only the base model in common.

    Keeps between tasks: the state after every task (the average alone would suffice: one copy).
    """

    beta: float = 0.5

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise UserError(f"beta: {self.beta} must be at least 0 and below 1, where only the first task would count")

    def merges(self, states: int) -> bool:
        """Do not merge a single state, nor where only the newest state counts."""
        return states > 1 and self.beta > 0

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about beta 0, under which nothing is averaged."""
        return [] if self.beta else ["beta 0 evaluates the newest state, as without it"]

    def merge(self, vectors: Sequence[Vector]) -> dict[str, Tensor]:
        """Return the weighted sum."""
        import torch

        return entrywise(vectors, lambda stacked: torch.tensordot(weights(self.beta, len(vectors)), stacked, 1))
