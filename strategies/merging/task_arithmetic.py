"""Task arithmetic: add the changes of all tasks.

Ilharco et al. 2023, arXiv 2212.04089, section 2; code `mlfoundations/task_vectors`:

    evaluated model = theta_0 + scale * sum over t of tau_t,   tau_t = theta_t - theta_0
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from strategies.merging.base import Scaled, entrywise

if TYPE_CHECKING:
    from torch import Tensor

    from strategies.merging.base import Vector


@dataclass(eq=False)
class TaskArithmetic(Scaled):
    """Evaluate the base model plus the scaled sum of all task vectors so far; training is not affected.

    Args:
        scale: one factor for all vectors, meant to be chosen on validation data. 0.4 is recalled, not read, as the
            value recommended where there are no such data.

    Meant for tasks that were each learned from the base model: put `scratch` before it. On a stream whose states follow
    one another tau_t also holds the changes of earlier tasks, so the sum holds task i (T - i + 1) times. There scale
    1 / T gives the mean of the states (the baseline in MagMax's code), and the sum itself means little.

    Deviation: the paper trains all weights; with `lora` tau_t is the update of the adapted modules.
    The public code leaves out, with a printed warning, parameters that one of the vectors lacks; here they count as 0.

    Keeps between tasks: the state of every task (a running sum would suffice).
    """

    scale: float = 0.4

    def merge(self, vectors: Sequence[Vector]) -> dict[str, Tensor]:
        """Return the scaled sum."""
        return entrywise(vectors, lambda stacked: self.scale * stacked.sum(0))
