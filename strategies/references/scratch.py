"""Each task alone from the base model: what learning it without a past gives (2403.08763, "from scratch")."""

from __future__ import annotations

from dataclasses import replace

from cl.methods.method import Method, Stage


class Scratch(Method):
    """Start every stage from the base model. Row t of R is the model that learned task t only.

    Its diagonal holds the single-task scores of `fwt/single`; forgetting and backward transfer of its rows
    say nothing, since no state follows another. A schedule stands beside it in the strategy.
    """

    def active(self, t: int) -> bool:
        """Never: it changes the stream, and inside a stage nothing."""
        return False

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Cut every stage from its predecessor, except a fork from its own trunk."""
        return [stage if stage.continues else replace(stage, parent=None) for stage in stages]
