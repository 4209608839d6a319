"""1 if the answer is right and in the requested form."""

from __future__ import annotations

from cl.tasks import answer_scoring
from cl.tasks.example import Example


def score(prediction: str, example: Example) -> float:
    """Score a prediction: see `cl.tasks.answer_scoring.strict`."""
    return answer_scoring.strict(prediction, example)
