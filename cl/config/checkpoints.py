"""Settings of checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from cl.errors import UserError


@dataclass(frozen=True)
class Checkpoints:
    """When an unfinished node saves its state. The two newest checkpoints are kept; a finished node keeps none.

    Args:
        seconds: longest time between two checkpoints; with several devices it is checked only 100 times per stage.
        steps: also save a checkpoint every `steps` optimizer steps; by default only `seconds` counts.
    """

    seconds: float = 60.0
    steps: int | None = None

    def __post_init__(self) -> None:
        if self.seconds <= 0 or (self.steps is not None and self.steps < 1):
            raise UserError(f"checkpoints: seconds {self.seconds} and steps {self.steps} must be positive")
