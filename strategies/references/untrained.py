"""No training: every row of R is of the base model, so that what is beside the weights is all that can help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cl.errors import UserError
from cl.methods.method import Method, PlansStages, Stage, Trains


@dataclass(eq=False)
class Untrained(PlansStages):
    """Learn no stage. The run has no train nodes, and a row of R after each task."""

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """No stage."""
        return []

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Raises UserError for a method that acts in training, which would have no effect."""
        if idle := [type(other).__name__ for other in others if isinstance(other, Trains)]:
            raise UserError(f"{idle[0]} acts in training, and nothing is trained; leave one of the two out")
        return []
