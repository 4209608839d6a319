"""The EM of the code of CaMeLS and MAC, which cuts the answer to the reference's length: not an exact match."""

from __future__ import annotations

from cl.tasks import short_answers
from cl.tasks.example import Example

KINDS = ("reading",)


def score(prediction: str, example: Example) -> float:
    """Score a prediction: see `cl.tasks.short_answers.em_cut`."""
    return short_answers.em_cut(prediction, example)
