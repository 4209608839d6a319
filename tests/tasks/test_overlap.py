"""Shares of shingles by hashes are those of sets of words."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cl.tasks import overlap as overlap_
from cl.tasks.overlap import SHINGLE, overlap


@pytest.mark.parametrize(
    ("train", "test", "expected"),
    [
        (["a b c d e f g h"], ["a b c d e f g h"], 1.0),
        (["x A B C D E F G H y"], ["a b c d e f g h"], 1.0),
        (["a b c d e f g h"], ["a b c d e f g h i"], 0.5),
        (["a b c d e f g x"], ["a b c d e f g h"], 0.0),
        (["a b c d", "e f g h"], ["a b c d e f g h"], 0.0),  # no shingle runs over the end of a document
        (["a b c d e f g h"], ["too short"], None),
        ([], ["a b c d e f g h"], None),
    ],
)
def test_overlap_by_hand(train: list[str], test: list[str], expected: float | None) -> None:
    assert overlap(train, test) == expected


def by_sets(train: list[str], test: list[str]) -> float | None:
    def shingles(texts: list[str]) -> set[tuple[str, ...]]:
        words = [text.casefold().split() for text in texts]
        return {tuple(each[place : place + SHINGLE]) for each in words for place in range(len(each) - SHINGLE + 1)}

    wanted = shingles(test)
    return len(wanted & shingles(train)) / len(wanted) if wanted and "".join(train) else None


@given(st.integers(0, 10**6))
def test_any_texts(seed: int) -> None:
    draw = random.Random(seed)
    some = ["ab", "b", "a", "bb", "ß", "Ω\u2003x", "\n", "  "]
    texts = [" ".join(draw.choices(some, k=draw.randint(0, 40))) for _ in range(8)]
    assert overlap(texts[:4], texts[4:]) == by_sets(texts[:4], texts[4:])


def test_a_long_text_is_searched_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    train, test = (" ".join(draw.choices("ab", k=400)) for _ in range(2))
    monkeypatch.setattr(overlap_, "PIECE", 30)
    assert overlap([train], [test]) == by_sets([train], [test])


def test_the_search_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overlap_, "OVERLAP_BYTES", 10)
    assert overlap(["x" * 11, "a b c d e f g h"], ["a b c d e f g h"]) == 0.0
