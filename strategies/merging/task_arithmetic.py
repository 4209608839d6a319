"""Task arithmetic: add what every task changed.

Ilharco et al. 2023, arXiv 2212.04089, section 2; code `mlfoundations/task_vectors`:

    evaluated model = theta_0 + scale * sum over t of tau_t,   tau_t = theta_t - theta_0
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from strategies.merging.base import Scaled, Vector, entrywise


class TaskArithmetic(Scaled):
    """Evaluate the base model plus the scaled sum of all task vectors so far; training does not see it.

    scale: one number for all vectors. It is meant to be chosen on validation data; 0.4 is recalled, not read, as the
    value recommended where there are none.
    Meant for tasks that were each learned from the base model: put `scratch` before it. On a stream whose states follow
    one another tau_t holds the earlier tasks' changes too, so the sum has task i (T - i + 1) times: there scale 1 / T
    is the mean of the states (what MagMax's code compares with), and the sum itself means little.
    Deviation: the paper trains all weights; with `lora` tau_t is the update of the adapted modules.
    The public code leaves out, with a printed warning, parameters that one of the vectors lacks; here they count as 0.
    Keeps between tasks: the state of every task (a running sum would do).
    """

    def __init__(self, scale: float = 0.4) -> None:
        super().__init__(scale)

    def merge(self, vectors: Sequence[Vector]) -> dict[str, Tensor]:
        """The scaled sum."""
        return entrywise(vectors, lambda stacked: self.scale * stacked.sum(0))
