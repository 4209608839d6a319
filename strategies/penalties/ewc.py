"""Elastic weight consolidation: hold parameters where they were, the stronger the more they mattered to the likelihood.

Kirkpatrick et al. 2017, arXiv 1612.00796, equation 3; online form: Schwarz et al. 2018 (Progress & Compress).

    L = task loss + weight / 2 * sum_k F_k (theta_k - theta*_k)^2
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from cl.methods.method import Learned
from strategies.penalties.base import Anchored, Mode, mean_over_rows


class EWC(Anchored):
    """Importance is the empirical Fisher diagonal.

    weight: lambda. F_t is the mean over single rows of the squared gradient of the row's summed loss, at the end of the
    task and without the penalty. weight is not portable: other code leaves out the 1/2 (Avalanche), squares the
    gradient of mini-batch means (then F is smaller by about the batch size), or estimates F while the penalty is in the
    gradient (TRACE, which also never resets it). mode, gamma, examples: see `strategies.penalties.base`.
    """

    name, factor = "ewc", 0.5

    def __init__(self, weight: float = 100.0, mode: Mode = "online", gamma: float = 1.0, examples: int = 128) -> None:
        super().__init__(weight, mode, gamma, examples)

    def importance(self, learned: Learned, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The Fisher diagonal."""
        return mean_over_rows(learned, self.examples, learned.loss, Tensor.square, parameters)
