"""ROUGE-L: how much of a text is reproduced in order.

Source: Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries": the F-measure of the longest common
subsequence. Deviation: one sequence is one sentence, and precision and recall weigh the same (beta 1), as in the
packages that are in use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def rouge_l(candidate: Sequence[T], reference: Sequence[T]) -> float:
    """F-measure of the longest common subsequence (LCS) of two sequences, in [0, 1].

    2 * LCS / (|candidate| + |reference|), which is F1 of precision LCS / |candidate| and recall LCS / |reference|.

    Args:
        candidate: words or tokens that were produced.
        reference: words or tokens that were to be produced.

    Returns:
        The F-measure; 0 where either is empty.
    """
    if not candidate or not reference:
        return 0.0
    before = [0] * (len(reference) + 1)  # LCS of the candidate so far with each beginning of the reference
    for token in candidate:
        now = [0]
        for place, other in enumerate(reference):
            now.append(before[place] + 1 if token == other else max(before[place + 1], now[place]))
        before = now
    return 2 * before[-1] / (len(candidate) + len(reference))
