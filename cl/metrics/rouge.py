"""ROUGE: overlap of a text with a reference, as F1 of shared n-grams or of the longest common subsequence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import TypeVar

T = TypeVar("T", bound=Hashable)


def rouge_n(candidate: Sequence[T], reference: Sequence[T], n: int) -> float:
    """F1 of the n-grams that both sequences hold, counted with repetitions; 0 where there is none.

    Args:
        candidate: units of the text, such as words.
        reference: units of the reference.
        n: units of an n-gram.

    Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries".
    """
    ours, theirs = (Counter(zip(*(text[k:] for k in range(n)), strict=False)) for text in (candidate, reference))
    return _f1((ours & theirs).total(), ours.total(), theirs.total())


def rouge_l(candidate: Sequence[T], reference: Sequence[T]) -> float:
    """F1 of the longest common subsequence; 0 where there is none.

    Args:
        candidate: units of the text, such as words.
        reference: units of the reference.

    Source: Lin 2004. Deviation: precision and recall weigh the same, as in today's libraries.
    """
    longest = [0] * (len(reference) + 1)  # of the candidate so far and the first units of the reference
    for unit in candidate:
        before = longest[:]
        for place, other in enumerate(reference, 1):
            longest[place] = before[place - 1] + 1 if unit == other else max(before[place], longest[place - 1])
    return _f1(longest[-1], len(candidate), len(reference))


def _f1(shared: int, ours: int, theirs: int) -> float:
    return 2 * shared / (ours + theirs) if shared else 0.0
