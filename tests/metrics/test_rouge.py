"""ROUGE by hand."""

from __future__ import annotations

import pytest

from cl.metrics.rouge import rouge_l, rouge_n


def test_the_longest_common_subsequence_need_not_be_in_one_piece() -> None:
    # "the cat mat": 3 of 4 words of ours, 3 of 6 of theirs
    assert rouge_l(["the", "cat", "sad", "mat"], ["the", "cat", "sat", "on", "the", "mat"]) == pytest.approx(6 / 10)
    assert rouge_l(["a", "b"], ["b", "a"]) == pytest.approx(1 / 2)


def test_words_and_pairs_of_words_are_counted_with_repetitions() -> None:
    ours, theirs = ["a", "a", "b"], ["a", "b", "a", "b"]
    assert rouge_n(ours, theirs, 1) == pytest.approx(2 * 3 / 7)  # a twice, b once
    assert rouge_n(ours, theirs, 2) == pytest.approx(2 * 1 / 5)  # a-b once; ours has a-a too


def test_equal_texts_score_one_and_nothing_in_common_or_nothing_at_all_zero() -> None:
    for score in (rouge_l, lambda one, other: rouge_n(one, other, 2)):
        assert score(["x", "y", "z"], ["x", "y", "z"]) == 1
        assert score(["x", "y", "z"], ["u", "v", "w"]) == 0
        assert score([], ["u", "v"]) == score([], []) == 0
