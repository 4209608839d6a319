"""SQuAD's exact match of short answers: 1 if the answer and a reference have the same normal form."""

from __future__ import annotations

from cl.tasks import short_answers
from cl.tasks.example import Example

KINDS = ("reading",)


def score(prediction: str, example: Example) -> float:
    """Score a prediction: see `cl.tasks.short_answers.em`."""
    return short_answers.em(prediction, example)
