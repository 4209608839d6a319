"""1 if the content of the answer is right, whatever its form."""

from __future__ import annotations

from cl.tasks import answer_scoring
from cl.tasks.example import Example


def score(prediction: str, example: Example) -> float:
    """Score a prediction: see `cl.tasks.answer_scoring.normalised`."""
    return answer_scoring.normalised(prediction, example)
