"""Settings of evaluation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cl.config.train import MOST_ROWS
from cl.errors import UserError
from cl.plain_values import MOST_AMOUNT, require_between

MOST_POINTS = 100_000
"""Evaluations inside of a stage: each is a point of a curve."""


@dataclass(frozen=True)
class Evaluation:
    """What is measured, and when.

    Args:
        tokens: largest number of test tokens per data set in a full evaluation (a row of R).
        items: largest number of test examples per instruction task that the model answers; 0 = loss only.
        batch: rows per forward pass. It is the same for all nodes, so that scores do not depend on it.
        probe_tokens: validation tokens per data set in an in-task evaluation.
        points: in-task evaluations per stage; fewer if they exceed `share`.
        share: largest share of a stage's time that in-task evaluation may take.
        split: split that rows of R are measured on. `cl tune` chooses hyperparameters on `validation`, which measures
            only the tasks of the stream, without retain sets.
    """

    tokens: int = 65536
    items: int = 100
    batch: int = 8
    probe_tokens: int = 4096
    points: int = 20
    share: float = 0.1
    split: Literal["test", "validation"] = "test"

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise UserError(f"evaluation.share: {self.share} must be in [0, 1): it is a share of the time")
        require_between(self, "evaluation", tokens=(1, MOST_AMOUNT), items=(0, MOST_AMOUNT), batch=(1, MOST_ROWS))
        require_between(self, "evaluation", probe_tokens=(1, MOST_AMOUNT), points=(0, MOST_POINTS))
