"""Placeholder until the scoring functions are written."""

from cl.examples import Example


def strict(prediction: str, example: Example) -> float:
    return float(prediction.strip() == example.answer)


def normalised(prediction: str, example: Example) -> float:
    return float(prediction.strip().lower() == example.answer.lower())


def format_ok(prediction: str, example: Example) -> bool:
    return True
