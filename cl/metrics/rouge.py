"""ROUGE (Lin 2004): how much of two word sequences is common, as F1 of n-grams or of a common subsequence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def rouge_n(candidate: Sequence[Hashable], reference: Sequence[Hashable], n: int) -> float:
    """F1 of the n-grams that both sequences hold, counted with repetitions, in [0, 1]; 0 if there is none.

    Args:
        candidate: words.
        reference: words.
        n: words of an n-gram.
    """
    ours, theirs = (Counter(zip(*(words[k:] for k in range(n)), strict=False)) for words in (candidate, reference))
    shared = (ours & theirs).total()
    return 2 * shared / (ours.total() + theirs.total()) if shared else 0.0


def rouge_l(candidate: Sequence[Hashable], reference: Sequence[Hashable]) -> float:
    """F1 of the longest common subsequence: 2 LCS / (n + m), in [0, 1]; 0 if either sequence is empty.

    Args:
        candidate: n words.
        reference: m words.
    """
    if not candidate or not reference:
        return 0.0
    return 2 * common_subsequence(candidate, reference) / (len(candidate) + len(reference))


def common_subsequence(first: Sequence[Hashable], second: Sequence[Hashable]) -> int:
    """Length of the longest common subsequence, by one step of whole-number arithmetic per word of `second`.

    The zeros of `row` mark the places of `first` at which the length grows: a row of the usual table, kept in the bits
    of one number.
    """
    places: dict[Hashable, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    whole = (1 << len(first)) - 1
    row = whole
    for word in second:
        matched = row & places.get(word, 0)
        row = (row + matched | row - matched) & whole
    return len(first) - row.bit_count()
