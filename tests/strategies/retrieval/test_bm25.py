"""BM25 by hand, and settings that are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cl.errors import UserError
from cl.methods.retrieves import Recall
from strategies.retrieval.bm25 import BM25, bm25

DOCUMENTS = ["a b", "a a c", "d"]  # of 2 words on average


def test_scores_by_hand() -> None:
    found = bm25(DOCUMENTS, ["a", "c a", "a a", "e"], k1=1.5, b=0.75)
    a, c = np.log(1 + 1.5 / 2.5), np.log(1 + 2.5 / 1.5)  # N = 3; a is in 2 documents, c in one
    # |d| = mean: f + 1.5; of the document of 3 words: f + 1.5 (0.25 + 0.75 * 1.5) = f + 2.0625
    once, twice = a * 2.5 / 2.5, a * 2 * 2.5 / (2 + 2.0625)
    both = twice + c * 2.5 / (1 + 2.0625)
    assert found == pytest.approx(np.array([[once, twice, 0], [once, both, 0], [2 * once, 2 * twice, 0], [0, 0, 0]]))


def test_length_does_not_matter_with_b_0() -> None:
    short, long = bm25(["a", "a b c d"], ["a"], k1=1.5, b=0.0)[0]
    assert short == pytest.approx(long)
    short, long = bm25(["a", "a b c d"], ["a"], k1=1.5, b=1.0)[0]
    assert short > long


def test_what_shares_no_word_is_never_shown() -> None:
    found = BM25().scores(Recall(DOCUMENTS, ["A?", "e"]))
    assert np.isneginf(found).tolist() == [[False, False, True], [True, True, True]]
    assert np.isneginf(BM25().scores(Recall(["…"], ["a"]))).all()  # a memory without words


@pytest.mark.parametrize("settings", [{"k1": -0.1}, {"b": 1.1}, {"b": -0.1}])
def test_settings(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"k1 must be at least 0, and b in \[0, 1\]"):
        BM25(**settings)
