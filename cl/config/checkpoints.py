"""Settings of checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from cl.errors import UserError


@dataclass(frozen=True)
class Checkpoints:
    """When the state of an unfinished node is saved. Only the newest is kept, and none once it is finished.

    Args:
        seconds: at most this long between checkpoints; several devices look at the clock a hundred times a stage only.
        steps: also every so many optimizer steps.
    """

    seconds: float = 60.0
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.seconds <= 0 or (self.steps is not None and self.steps < 1):
            raise UserError(f"checkpoints: seconds {self.seconds} and steps {self.steps} must be positive")
