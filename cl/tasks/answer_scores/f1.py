"""SQuAD's F1 of the words of the answer and the best reference."""

from __future__ import annotations

from cl.tasks import short_answers
from cl.tasks.example import Example

KINDS = ("reading",)


def score(prediction: str, example: Example) -> float:
    """Score a prediction: see `cl.tasks.short_answers.f1`."""
    return short_answers.f1(prediction, example)
