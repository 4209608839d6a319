"""Learning without forgetting: on the new task's inputs, predict as the model did before the task.

Li & Hoiem 2016, arXiv 1606.09282, equations 1 to 3, with the Kullback-Leibler divergence in place of their
cross-entropy, from which it differs by a constant (the teacher's entropy):

    L = task loss + weight * T^2 * mean over learned tokens of  KL(p_old^T || p_new^T),   p^T = softmax(logits / T)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cl.errors import UserError
from cl.methods.method import Method, MicroBatch, Trains

if TYPE_CHECKING:
    from torch import Tensor

    from cl.models.losses import Criterion


@dataclass(eq=False)
class LwF(Trains):
    """Distil the model from the start of the stage into the model being trained, on the stage's own rows.

    Args:
        weight: coefficient of the divergence times T^2, the paper's alpha. Avalanche has 1 without T^2, which is .25
            here at T = 2; mammoth has .5 without T^2, which is .125 here. The authors' gradient per sample is 1/T^2 of
            ours as well.
        temperature: T of both models: 2 in Avalanche and in mammoth.

    The teacher has the old values of the trained parameters and shares all others. It runs in evaluation mode on the
    same micro-batch, and the student's logits are those of the task loss, so the cost is one forward pass. Only learned
    tokens are distilled, as in CTBench.

    Public code that this avoids: TRACE looks precomputed teacher logits up by step while the loader reshuffles, and
    swaps the arguments of the divergence; CTBench leaves the teacher's dropout on.
    Deviation: the paper has a head per task and distils the old heads; a language model has one head.

    Keeps between tasks: nothing; while training, a copy of the trained parameters.
    """

    weight: float = 1.0
    temperature: float = 2.0

    old: dict[str, Tensor] = field(init=False, repr=False, default_factory=dict)
    """Values of the trained parameters at the start of the stage."""

    def __post_init__(self) -> None:
        if self.weight < 0 or self.temperature <= 0:
            raise UserError(f"weight {self.weight} must be at least 0, temperature {self.temperature} above 0")

    def active(self, t: int) -> bool:
        """Do not act at t = 1, where nothing was learned before, nor with weight 0."""
        return t > 1 and self.weight > 0

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Warn about weight 0, under which nothing is distilled."""
        return [] if self.weight else ["weight 0 is equivalent to plain fine-tuning"]

    def prepare(self, model: Any, t: int) -> Any:
        """Copy the trained parameters; a fresh adapter changes nothing yet, so the copy is the older model."""
        self.old = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
        return model

    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        """Return the weighted divergence of each learned token, times the squared temperature (Hinton et al. 2015)."""
        from cl.models import distillation

        teacher = distillation.Model(batch.under(self.old))
        rule = distillation.Rule(self.weight, temperature=self.temperature, squared=True)
        return {"lwf": distillation.criterion(rule, teacher, batch.outputs.targets)}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the copy: a stage that continues inside its parent's stage keeps the parent's teacher."""
        return self.old

    def load_state_dict(self, tensors: Mapping[str, Tensor]) -> None:
        """Load what `state_dict` returned."""
        self.old = dict(tensors)
