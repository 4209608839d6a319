"""ROUGE-L by hand, and against the table of the longest common subsequence."""

from __future__ import annotations

import random

import pytest

from cl.metrics.rouge import common_subsequence, rouge_l, rouge_n


@pytest.mark.parametrize(
    ("candidate", "reference", "expected"),
    [
        ("police killed the gunman", "police kill the gunman", 2 * 3 / 8),
        ("police killed the gunman", "the gunman kill police", 2 * 2 / 8),
        ("a b c", "a b c", 1.0),
        ("a b c", "d e", 0.0),
        ("a a a", "a", 2 * 1 / 4),
        ("", "a", 0.0),
        ("", "", 0.0),
    ],
)
def test_by_hand(candidate: str, reference: str, expected: float) -> None:
    assert rouge_l(candidate.split(), reference.split()) == expected


def test_words_and_pairs_of_words_are_counted_with_repetitions() -> None:
    ours, theirs = ["a", "a", "b"], ["a", "b", "a", "b"]
    assert rouge_n(ours, theirs, 1) == 2 * 3 / 7  # a twice, b once
    assert rouge_n(ours, theirs, 2) == 2 * 1 / 5  # a-b once; ours has a-a too
    assert rouge_n([], theirs, 1) == rouge_n([], [], 1) == 0


def table(first: str, second: str) -> int:
    """The usual recursion."""
    row = [0] * (len(second) + 1)
    for letter in first:
        before = row
        row = [0]
        for place, other in enumerate(second):
            row.append(before[place] + 1 if letter == other else max(row[-1], before[place + 1]))
    return row[-1]


def test_the_bits_are_the_table() -> None:
    chance = random.Random(0)
    for _ in range(200):
        first, second = ("".join(chance.choices("abcd", k=chance.randrange(0, 90))) for _ in range(2))
        assert common_subsequence(first, second) == table(first, second)
