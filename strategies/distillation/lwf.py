"""Learning without forgetting: on the new task's inputs, answer as the model did before it.

Li & Hoiem 2016, arXiv 1606.09282, equations 1 to 3, with the Kullback-Leibler divergence in place of their
cross-entropy, from which it differs by a constant (the teacher's entropy):

    L = task loss + weight * T^2 * mean over learned tokens of  KL(p_old^T || p_new^T),   p^T = softmax(logits / T)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from cl.errors import UserError
from cl.methods.method import Method, MicroBatch
from cl.models import distillation
from cl.models.losses import Criterion


class LwF(Method):
    """Distil the model of the stage's start into the one being trained, on the stage's own rows.

    weight: alpha (1 in Avalanche, .5 in mammoth); temperature: T (2 in both). The teacher is the trained parameters as
    they were, the rest is shared; it runs in evaluation mode on the same micro-batch, and the student's logits are
    those of the task loss, so the price is one forward pass. Only learned tokens are distilled, as in CTBench.
    Public code that this avoids: TRACE keys precomputed teacher logits by step while the loader reshuffles, and swaps
    the arguments of the divergence; CTBench leaves the teacher's dropout on.
    Deviation: the paper has a head per task and distils the old heads; a language model has one.
    Keeps between tasks: nothing; while training, a copy of the trained parameters.
    """

    def __init__(self, weight: float = 1.0, temperature: float = 2.0) -> None:
        super().__init__()
        if weight < 0 or temperature <= 0:
            raise UserError(f"weight {weight} must be at least 0, temperature {temperature} above 0")
        self.weight, self.temperature = weight, temperature
        self.old: dict[str, Tensor] = {}

    def active(self, t: int) -> bool:
        """Not at t = 1, where nothing was learned before, and not with weight 0."""
        return t > 1 and self.weight > 0

    def warnings(self) -> list[str]:
        """Settings under which nothing is distilled."""
        return [] if self.weight else ["weight 0 is equivalent to plain fine-tuning"]

    def prepare(self, model: Any, t: int) -> Any:
        """Copy what the stage will train; a fresh adapter changes nothing yet, so the copy is the older model."""
        self.old = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
        return model

    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        """The weighted divergence of each learned token, at the temperature, times its square (Hinton et al. 2015)."""
        teacher = distillation.Model(batch.under(self.old))
        rule = distillation.Rule(self.weight, temperature=self.temperature, squared=True)
        return {"lwf": distillation.criterion(rule, teacher, batch.outputs.targets)}

    def tensors(self) -> dict[str, Tensor]:
        """The copy: a stage that goes on inside its parent's keeps the parent's teacher."""
        return self.old

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Inverse of `tensors`."""
        self.old = dict(tensors)
