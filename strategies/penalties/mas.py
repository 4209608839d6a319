"""Memory aware synapses: hold parameters near their old values in proportion to the sensitivity of the model's output.

Aljundi et al. 2018, arXiv 1711.09601, equations 3 and 4:

    L = task loss + weight * sum_k Omega_k (theta_k - theta*_k)^2,   Omega = mean over rows of |d ||f(x)||^2 / d theta|
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cl.methods.method import Learned
from strategies.penalties.base import Estimated, mean_over_rows

if TYPE_CHECKING:
    from torch import Tensor

    from cl.data.batches import Batch


def output_norm(logits_NV: Tensor) -> Tensor:
    """Mean over tokens of the squared norm of the centred logits.

    The logits of a language model share a large common offset, which changes no probability and would dominate
    ||f||^2.
    """
    return (logits_NV - logits_NV.mean(-1, keepdim=True)).square().sum(-1).mean()


@dataclass(eq=False)
class MAS(Estimated):
    """Hold parameters near earlier optima; importance is the sensitivity of the output, without labels.

    Args:
        weight: coefficient of the penalty, the paper's lambda.
        mode: `online`: one importance and the newest optimum; `offline`: both for every task.
        gamma: decay of the older importance, in [0, 1]; `online` only.
        examples: rows of the task from which importance is estimated; 0: all rows.

    Needs parameters that continue from task to task: full fine-tuning, or `lora` with life `continue`.

    Deviations: logits are centred, and the norm of a row is a mean over its learned tokens. Importance adds up as in
    EWC, as in the accumulating variant of the authors' code; its other one estimates it anew over the data of all
    tasks, and Avalanche mixes it with alpha = 0.5.

    Keeps between tasks: 2 copies of the trained parameters (`online`), or 2 per task (`offline`).
    """

    name, factor = "mas", 1.0

    weight: float = 1.0

    def importance(self, learned: Learned, parameters: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return Omega."""
        import torch
        import torch.nn.functional as F

        def norm(batch: Batch) -> Tensor:
            outputs = learned.outputs(batch)  # with the boundaries of documents that the stage trained with
            logits = outputs.values if outputs.weight is None else F.linear(outputs.values, outputs.weight)
            return output_norm(logits.float())

        return mean_over_rows(learned, self.examples, norm, torch.Tensor.abs, parameters)
