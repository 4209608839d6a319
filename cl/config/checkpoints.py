"""Settings of checkpoints."""

from __future__ import annotations

from dataclasses import dataclass

from cl.errors import UserError


@dataclass(frozen=True)
class Checkpoints:
    """When an unfinished node saves its state. The two newest checkpoints are kept; a finished node keeps none.

    A checkpoint is due `seconds` after the last one, or later: when the time that training lost to the last one is a
    `share` of the time since.

    Args:
        seconds: shortest time between two checkpoints; with several devices it is checked only 100 times per stage.
        share: largest share of the time that training loses to checkpoints.
        steps: also save a checkpoint every `steps` optimizer steps, whatever it costs; by default only time counts.
        background: training waits for a copy of the state, and a thread writes the copy. It takes the memory of one
            more state (weights, moments, what methods keep). false: training waits until the checkpoint is written.
    """

    seconds: float = 60.0
    share: float = 0.02
    steps: int | None = None
    background: bool = True

    def __post_init__(self) -> None:
        if self.seconds <= 0 or (self.steps is not None and self.steps < 1):
            raise UserError(f"checkpoints: seconds {self.seconds} and steps {self.steps} must be positive")
        if not 0 < self.share <= 1:
            raise UserError(f"checkpoints.share: {self.share} must be above 0 and at most 1; 0.02 is 2 % of the time")
