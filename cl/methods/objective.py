"""What one stage minimises: a mean over the units of its data, such as tokens, answers or pairs.

A method names another objective than the default by its hook `objective`; `cl.training.learner` computes it in
micro-batches and divides by the units of the whole optimizer step, so that neither their size nor the number of devices
changes the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor

    from cl.data.batches import Batch
    from cl.models.losses import Outputs


class Objective(Protocol):
    """The loss of a stage."""

    @property
    def learns_from(self) -> tuple[str, ...]:
        """Kinds of sets that the objective can learn from (`cl.tasks.task.KINDS`)."""

    @property
    def rows(self) -> int:
        """Rows of a batch that belong together and stay in one micro-batch: 2 for pairs."""

    @property
    def name(self) -> str:
        """Name of the loss among the recorded terms; "" for the default, which is recorded as the task loss."""

    def count(self, batch: Batch) -> Tensor | int:
        """Number of units in a batch: learned tokens, rows, pairs."""

    def total(self, model: Any, outputs: Outputs, batch: Batch) -> Tensor:
        """Sum of the loss over the units of a micro-batch.

        Args:
            model: the model that is trained.
            outputs: the model's outputs at the learned tokens of the batch.
            batch: the rows.
        """


class TokenCrossEntropy:
    """The default: cross-entropy of the learned tokens, in nats.

    Args:
        learns_from: kinds of sets that are allowed.
    """

    rows, name = 1, ""

    def __init__(self, learns_from: tuple[str, ...] = ("text", "instruction")) -> None:
        self.learns_from = learns_from

    def count(self, batch: Batch) -> Tensor | int:
        """Learned tokens."""
        return batch.learned()

    def total(self, model: Any, outputs: Outputs, batch: Batch) -> Tensor:
        """Summed cross-entropy of the learned tokens."""
        from cl.models import losses

        return losses.total_nll(outputs)
