"""MagMax: keep, for every entry of a parameter, the largest change that any task made.

Marczak et al. 2024, arXiv 2407.06322, and its code, `danielm1405/magmax`, `merge_max_abs`. With the states theta_t of
*sequential* fine-tuning, tau_t = theta_t - theta_0, and for each entry p separately

    evaluated model = theta_0 + scale * tau_s(p),   s(p) = argmax over t of |tau_t(p)|
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strategies.merging.base import Scaled, entrywise

if TYPE_CHECKING:
    from torch import Tensor

    from strategies.merging.base import Vector


def largest(stacked: Tensor) -> Tensor:
    """Value of largest magnitude for each entry of [T, …], with its sign; of equal ones the newest, as in the code."""
    newest_first = stacked.flip(0)
    return newest_first.gather(0, newest_first.abs().argmax(0, keepdim=True)).squeeze(0)


@dataclass(eq=False)
class MagMax(Scaled):
    """Evaluate the base model plus the scaled changes of largest magnitude; training continues from the newest state.

    Args:
        scale: factor on the changes. The authors' code uses 0.5, for CLIP.

    The scale holds for the first row as well, as in the code: one task alone is evaluated at half its change.
    Needs states that follow one another: a life of `lora` that continues, or full fine-tuning. The "max merge" of
    other work (CTBench: the larger *value*, of independent adapters) is a different operation.

    Deviation: the paper trains all weights; with `lora` tau_t is the update of the adapted modules.

    Keeps between tasks: the state after every task (a running maximum would suffice: one copy).
    """

    scale: float = 0.5

    def merge(self, vectors: Sequence[Vector]) -> dict[str, Tensor]:
        """Return the scaled maximum."""
        return entrywise(vectors, lambda stacked: self.scale * largest(stacked))
