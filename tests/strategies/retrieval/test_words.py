"""Counts of words."""

from __future__ import annotations

from strategies.retrieval.words import counts, vocabulary, words


def test_words_are_runs_of_letters_and_digits_in_lower_case() -> None:
    assert words("Straße, don't 3.5 a_b") == ["strasse", "don", "t", "3", "5", "a_b"]
    assert words("…") == []


def test_counts_of_known_words() -> None:
    known = vocabulary(["b a", "a c"])
    assert known == {"b": 0, "a": 1, "c": 2}
    assert counts(["a a b", "d", ""], known).toarray().tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 0]]
