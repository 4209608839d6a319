"""Cost of one additional forward pass: a lower bound for every method that distils from a model in memory."""

from __future__ import annotations

from dataclasses import dataclass

from cl.methods.method import MicroBatch, Trains
from cl.models.losses import Criterion


@dataclass(eq=False)
class ExtraForward(Trains):
    """Runs the model again on each micro-batch, in evaluation mode and without a graph, and ignores the outputs."""

    def active(self, t: int) -> bool:
        """Act in the stages in which LwF acts."""
        return t > 1

    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        """Run the forward pass and return no term."""
        batch.under({})
        return {}
