"""The placebo: drawn anew for each question, and again the same with the same seed."""

from __future__ import annotations

from cl.methods.retrieves import Recall, ranked
from strategies.retrieval.random_examples import RandomExamples


def drawn(seed: int) -> list[list[int]]:
    return ranked(RandomExamples().scores(Recall(["x"] * 200, ["y"] * 3, seed=seed)), 4)


def test_examples_are_drawn_from_the_seed_for_each_question() -> None:
    assert drawn(0) == drawn(0) != drawn(1)
    first, second, third = drawn(0)
    assert first != second != third
    assert all(len(set(each)) == 4 for each in drawn(0))
