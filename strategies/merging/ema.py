"""Exponential moving average of the states at the ends of tasks.

    mean_1 = theta_1,   mean_t = beta * mean_{t-1} + (1 - beta) * theta_t

The recursion of Tarvainen & Valpola 2017, arXiv 1703.01780 (recalled, not read), at the ends of tasks instead of steps;
so decays of 0.99 and more, as they are usual for steps, say nothing here. It is written out as a sum with weights that
add up to 1, and so acts on task vectors as it does on states.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cl.errors import UserError
from cl.methods.method import Method
from strategies.merging.base import Vector, entrywise


def weights(beta: float, states: int) -> Tensor:
    """Weight of each state in the average, oldest first [states]: beta^(T-1), then (1 - beta) beta^(T-t)."""
    return torch.tensor([(1 - beta if t else 1.0) * beta ** (states - 1 - t) for t in range(states)])


class EMA(Method):
    """Evaluate the moving average of all states so far; training goes on from the newest state.

    beta: weight of the older average, per task; 0.5, our choice, is the plain mean of two states.
    Needs states that follow one another: a life of `lora` that goes on, or full fine-tuning; with `scratch` it averages
    models that have nothing in common but the base model.
    Keeps between tasks: the state after every task (the average alone would do: one copy).
    """

    def __init__(self, beta: float = 0.5) -> None:
        super().__init__()
        if not 0 <= beta < 1:
            raise UserError(f"beta: {beta} must be at least 0 and below 1, where only the first task would count")
        self.beta = beta

    def merges(self, states: int) -> bool:
        """Not of a single state, nor where the newest alone counts."""
        return states > 1 and self.beta > 0

    def warnings(self) -> list[str]:
        """A setting under which nothing is averaged."""
        return [] if self.beta else ["beta 0 evaluates the newest state, as without it"]

    def merge(self, vectors: Sequence[Vector]) -> dict[str, Tensor]:
        """The weighted sum."""
        return entrywise(vectors, lambda stacked: torch.tensordot(weights(self.beta, len(vectors)), stacked, 1))
