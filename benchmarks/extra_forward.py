"""Cost of one more forward pass alone: the lower bound of every method that distils from a live teacher."""

from __future__ import annotations

from torch import Tensor

from cl.methods.method import Method, MicroBatch


class ExtraForward(Method):
    """Runs the model once more on each micro-batch in evaluation mode, without a graph, and ignores the output."""

    def active(self, t: int) -> bool:
        """Whether LwF would be active."""
        return t > 1

    def loss_terms(self, batch: MicroBatch) -> dict[str, Tensor]:
        """No term."""
        batch.under({})
        return {}
