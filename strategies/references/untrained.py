"""No training: rows of R are of a state that is left as it is, so that what is beside the weights is all that helps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from cl.errors import UserError
from cl.methods.method import Method, PlansStages, Stage, Trains


@dataclass(eq=False)
class Untrained(PlansStages):
    """Learn no stage, or only the first one. The run has a row of R after each task.

    Args:
        tasks: `all`: no task is learned, and every row is of the base model; `later`: the first task is learned, such
            as the form of the answers, and every later row is of the state after it.
    """

    tasks: Literal["all", "later"] = "all"

    def __post_init__(self) -> None:
        if self.tasks not in ("all", "later"):
            raise UserError(f"tasks: {self.tasks!r} is neither all nor later")

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """No stage, or the first one."""
        return [] if self.tasks == "all" else stages[:1]

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Raises UserError for a method that acts in training, which would have no effect."""
        idle = [type(other).__name__ for other in others if isinstance(other, Trains)]
        if idle and self.tasks == "all":
            raise UserError(f"{idle[0]} acts in training, and nothing is trained; leave one of the two out")
        return []
