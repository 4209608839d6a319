"""Elastic weight consolidation: hold parameters near their old values in proportion to the Fisher information.

Kirkpatrick et al. 2017, arXiv 1612.00796, equation 3; online form: Schwarz et al. 2018 (Progress & Compress).

    L = task loss + weight / 2 * sum_k F_k (theta_k - theta*_k)^2
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cl.methods.method import Learned
from strategies.penalties.base import Estimated, mean_over_rows

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(eq=False)
class EWC(Estimated):
    """Hold parameters near earlier optima; importance is the diagonal of the empirical Fisher information.

    Args:
        weight: coefficient of the penalty, the paper's lambda.
        mode: `online`: one importance and the newest optimum; `offline`: both for every task.
        gamma: decay of the older importance, in [0, 1]; `online` only.
        examples: rows of the task from which importance is estimated; 0: all rows.

    F_t is the mean over single rows of the squared gradient of the row's summed loss, at the end of the task and
    without the penalty. Needs parameters that continue from task to task: full fine-tuning, or `lora` with life
    `continue`.

    Public code differs, so values of `weight` are not portable: Avalanche leaves out the 1/2. Other code squares the
    gradient of mini-batch means; then F is smaller by about the batch size. Mammoth weights each row's squared gradient
    by the probability of its label. TRACE estimates F while the penalty is in
    the gradient, and never resets F.

    Keeps between tasks: 2 copies of the trained parameters (`online`), or 2 per task (`offline`).
    """

    name, factor = "ewc", 0.5

    weight: float = 100.0

    def importance(self, learned: Learned, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the diagonal of the Fisher information."""
        import torch

        return mean_over_rows(learned, self.examples, learned.loss, torch.Tensor.square, parameters)
