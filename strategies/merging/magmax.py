"""MagMax: of every parameter keep the largest change that any task made.

Marczak et al. 2024, arXiv 2407.06322, and its code, `danielm1405/magmax`, `merge_max_abs`. With the states theta_t of
*sequential* fine-tuning, tau_t = theta_t - theta_0, and for each entry p on its own

    evaluated model = theta_0 + scale * tau_s(p),   s(p) = argmax over t of |tau_t(p)|
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from strategies.merging.base import Scaled, Vector, entrywise


def largest(stacked: Tensor) -> Tensor:
    """Of each entry of [T, …] the one of largest magnitude, with its sign; of equal ones the newest, as in the code."""
    newest_first = stacked.flip(0)
    return newest_first.gather(0, newest_first.abs().argmax(0, keepdim=True)).squeeze(0)


class MagMax(Scaled):
    """Evaluate the base model plus the scaled changes of largest magnitude; training goes on from the newest state.

    scale: 0.5 in the authors' code, for CLIP. It holds for the first row as well, where one task alone is
    evaluated at half its change, as in the code.
    Needs states that follow one another: a life of `lora` that goes on, or full fine-tuning. What is elsewhere called
    "max merge" (CTBench: the larger *value*, of independent adapters) is something else.
    Deviation: the paper trains all weights; with `lora` tau_t is the update of the adapted modules.
    Keeps between tasks: the state after every task (a running maximum would do: one copy).
    """

    def __init__(self, scale: float = 0.5) -> None:
        super().__init__(scale)

    def merge(self, vectors: Sequence[Vector]) -> dict[str, Tensor]:
        """The scaled maximum."""
        return entrywise(vectors, lambda stacked: self.scale * largest(stacked))
