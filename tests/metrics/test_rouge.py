"""ROUGE-L by hand."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from cl.metrics.rouge import rouge_l

KILLED = ["police", "killed", "the", "gunman"]


@pytest.mark.parametrize(
    ("candidate", "reference", "expected"),
    [
        ("abcd", "abcd", 1.0),
        ("abcd", "wxyz", 0.0),
        ("", "ab", 0.0),
        ("ab", "", 0.0),
        (["police", "kill", "the", "gunman"], KILLED, 0.75),  # of Lin's paper: 3 of 4 words in order
        (["the", "gunman", "kill", "police"], KILLED, 0.5),  # of Lin's paper: 2 of 4
        ([1, 2, 3], [1, 9, 2, 9, 3, 9], 2 * 3 / 9),
        ("aab", "ab", 0.8),
    ],
)
def test_the_f_measure_of_the_longest_common_subsequence(
    candidate: Sequence[object], reference: Sequence[object], expected: float
) -> None:
    assert rouge_l(candidate, reference) == pytest.approx(expected)
    assert rouge_l(reference, candidate) == pytest.approx(expected)
