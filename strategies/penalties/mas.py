"""Memory aware synapses: hold parameters where they were, the stronger the more they move the model's output.

Aljundi et al. 2018, arXiv 1711.09601, equations 3 and 4:

    L = task loss + weight * sum_k Omega_k (theta_k - theta*_k)^2,   Omega = mean over rows of |d ||f(x)||^2 / d theta|
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from cl.data.batches import IGNORE, Batch
from cl.methods.method import Learned
from strategies.penalties.base import Anchored, Mode, mean_over_rows


def output_norm(logits_NV: Tensor) -> Tensor:
    """Mean over tokens of the squared norm of the centred logits.

    Logits of a language model share a large common offset, which changes no probability and would rule ||f||^2.
    """
    return (logits_NV - logits_NV.mean(-1, keepdim=True)).square().sum(-1).mean()


class MAS(Anchored):
    """Importance is the sensitivity of the output; labels play no part.

    weight: lambda. Deviations: logits are centred, and a row's norm is a mean over its learned tokens; importance adds
    up as in EWC, where the authors' code averages it over tasks (Avalanche mixes it with alpha = 0.5).
    mode, gamma, examples: see `strategies.penalties.base`.
    """

    name, factor = "mas", 1.0

    def __init__(self, weight: float = 1.0, mode: Mode = "online", gamma: float = 1.0, examples: int = 128) -> None:
        super().__init__(weight, mode, gamma, examples)

    def importance(self, learned: Learned, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Omega."""

        def norm(batch: Batch) -> Tensor:
            logits = learned.model(input_ids=batch.ids[:, :-1], use_cache=False).logits.flatten(0, 1).float()
            return output_norm(logits if batch.targets is None else logits[batch.targets.flatten() != IGNORE])

        return mean_over_rows(learned, self.examples, norm, Tensor.abs, parameters)
