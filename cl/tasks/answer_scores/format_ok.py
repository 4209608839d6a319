"""1 if the answer has the requested form, whether right or wrong."""

from __future__ import annotations

from cl.tasks import answer_scoring
from cl.tasks.example import Example


def score(prediction: str, example: Example) -> float:
    """Score a prediction: see `cl.tasks.answer_scoring.format_ok`."""
    return float(answer_scoring.format_ok(prediction, example))
