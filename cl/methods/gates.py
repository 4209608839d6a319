"""The protocol of methods that decide, after a stage, whether its state is promoted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cl.methods.method import Method
from cl.metrics.certificate import Change, Decision

__all__ = ["Change", "Decision", "Gates"]


class Gates(Method):
    """Decides after a stage whether its end state is promoted, in a gate node; if not, the state before it stays.

    Attributes:
        metric: what is compared by item on validation data: `loss`, or a score of answers.
        retain: sets that are compared beside the tasks learned so far.
        interval: level of the intervals.
    """

    metric: str = "loss"
    retain: Sequence[str] = ()
    interval: float = 0.95

    def decide(self, gain: Change, regression: Mapping[str, Change]) -> Decision:
        """Return the decision about the end state, from its changes since the state before.

        Args:
            gain: change of the stage's own task.
            regression: change of each retained set.
        """
        return "accept"
