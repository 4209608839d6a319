"""Forgetting: the fall of earlier tasks from their best or first value to the end; positive = forgotten."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from cl.metrics.formula import SCORE_CHANGE, change_of_losses, formula
from cl.metrics.result_matrix import ResultMatrix, mean


def _fall(r: ResultMatrix, rows: Callable[[int], Iterable[int]]) -> float:
    """Mean over tasks i < T of the largest R[s,i] for s in rows(i), minus R[T,i]."""
    return mean(max(r(s, i) for s in rows(i)) - r(r.T, i) for i in r.earlier())


@formula("forgetting/first", better="lower", unit=SCORE_CHANGE, source="Avalanche", compares_rows=True)
def first(r: ResultMatrix) -> float:
    """Mean over tasks i < T of R[i,i] - R[T,i]."""
    return _fall(r, lambda i: [i])


@formula(
    "forgetting/chaudhry",
    better="lower",
    unit=SCORE_CHANGE,
    compares_rows=True,
    source="Chaudhry et al. 2018, RWalk (1801.10112); Renate; SAPT (2401.08295)",
)
def chaudhry(r: ResultMatrix) -> float:
    """Mean over tasks i < T of max(R[s,i] for 1 <= s < T) - R[T,i]."""
    return _fall(r, lambda i: range(1, r.T))


@formula(
    "forgetting/since_learned", better="lower", unit=SCORE_CHANGE, source="continuum; contilab", compares_rows=True
)
def since_learned(r: ResultMatrix) -> float:
    """Mean over tasks i < T of max(R[s,i] for i <= s < T) - R[T,i]."""
    return _fall(r, lambda i: range(i, r.T))


@formula("forgetting/incl_last", better="lower", unit=SCORE_CHANGE, source="mammoth; PyCIL", compares_rows=True)
def including_last(r: ResultMatrix) -> float:
    """Mean over tasks i < T of max(R[s,i] for 1 <= s <= T) - R[T,i], which is never negative.

    In the code of mammoth and PyCIL, R[s,i] is 0 for tasks i > s; here it is the measured score.
    """
    return _fall(r, lambda i: range(1, r.T + 1))


@formula("forgetting/libcontinual", better="lower", unit=SCORE_CHANGE, source="LibContinual", compares_rows=True)
def libcontinual(r: ResultMatrix) -> float:
    """Sum over tasks i <= T - 2 of R[i,i] - R[T,i], divided by T - 1."""
    return math.fsum(r(i, i) - r(r.T, i) for i in r.earlier(3) if i <= r.T - 2) / (r.T - 1)


first_nll = change_of_losses(first, "forgetting/first_nll")
chaudhry_nll = change_of_losses(chaudhry, "forgetting/chaudhry_nll")
since_learned_nll = change_of_losses(since_learned, "forgetting/since_learned_nll")
