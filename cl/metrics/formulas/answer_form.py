"""Forgetting of the form of answers and of their content.

s is the strict score, n the normalised score, which forgives form. What s loses and n does not is superficial; what n
loses is essential. Their sum is the fall of the strict score, so neither is clipped at 0.

The terms are SEFE's (2505.02486). The formulas are ours: the paper infers the split from the gains of its two parts.
"""

from __future__ import annotations

from cl.metrics.formula import SCORE_CHANGE, formula
from cl.metrics.result_matrix import ResultMatrix, mean

SOURCE = "ours, terms of SEFE (2505.02486)"


@formula(
    "superficial", better="lower", unit=SCORE_CHANGE, source=SOURCE, inputs=("strict", "normalised"), compares_rows=True
)
def superficial(s: ResultMatrix, n: ResultMatrix) -> float:
    """Mean over tasks i < T of (n - s)[T,i] - (n - s)[i,i], n the normalised and s the strict score."""
    return mean((n(n.T, i) - s(s.T, i)) - (n(i, i) - s(i, i)) for i in s.earlier())


@formula(
    "essential", better="lower", unit=SCORE_CHANGE, source=SOURCE, inputs=("strict", "normalised"), compares_rows=True
)
def essential(s: ResultMatrix, n: ResultMatrix) -> float:
    """Mean over tasks i < T of n[i,i] - n[T,i], n the normalised score."""
    return mean(n(i, i) - n(n.T, i) for i in s.earlier())


@formula(
    "strict_fall", better="lower", unit=SCORE_CHANGE, source=SOURCE, inputs=("strict", "normalised"), compares_rows=True
)
def strict_fall(s: ResultMatrix, n: ResultMatrix) -> float:
    """Mean over tasks i < T of s[i,i] - s[T,i], s the strict score: the sum of superficial and essential."""
    return mean(s(i, i) - s(s.T, i) for i in s.earlier())
