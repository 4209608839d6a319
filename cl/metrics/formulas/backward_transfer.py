"""Backward transfer: the change of earlier tasks since they were learned; negative = forgotten."""

from __future__ import annotations

import math
from itertools import combinations

from cl.metrics.formula import SCORE_CHANGE, change_of_losses, formula
from cl.metrics.result_matrix import ResultMatrix


def _changes(r: ResultMatrix) -> float:
    """Sum over tasks i < T of R[T,i] - R[i,i]."""
    return math.fsum(r(r.T, i) - r(i, i) for i in r.earlier())


def _changes_of_pairs(r: ResultMatrix, gap: int) -> float:
    """Sum over pairs t >= i + gap of R[t,i] - R[i,i], divided by the number of all pairs t > i."""
    pairs = list(combinations(r.tasks(), 2))
    r.earlier(gap + 1)
    return math.fsum(r(t, i) - r(i, i) for i, t in pairs if t - i >= gap) / len(pairs)


@formula(
    "bwt/T-1",
    better="higher",
    unit=SCORE_CHANGE,
    compares_rows=True,
    source="GEM (1706.08840); Renate; mammoth; SLAO (2512.23017)",
)
def per_earlier_task(r: ResultMatrix) -> float:
    """Sum over tasks i < T of R[T,i] - R[i,i], divided by T - 1.

    GEM's paper has T - 1, its code T.
    """
    return _changes(r) / (r.T - 1)


@formula(
    "bwt/T",
    better="higher",
    unit=SCORE_CHANGE,
    compares_rows=True,
    source="CoIN (2403.08350); SEFE (2505.02486); TRACE (2310.06762); SAPT (2401.08295)",
)
def per_task(r: ResultMatrix) -> float:
    """Sum over tasks i < T of R[T,i] - R[i,i], divided by T."""
    return _changes(r) / r.T


@formula("bwt/pairs", better="higher", unit=SCORE_CHANGE, source="continuum", compares_rows=True)
def pairs(r: ResultMatrix) -> float:
    """Mean over pairs t > i of R[t,i] - R[i,i]."""
    return _changes_of_pairs(r, gap=1)


@formula("bwt/libcontinual", better="higher", unit=SCORE_CHANGE, source="LibContinual", compares_rows=True)
def distant_pairs(r: ResultMatrix) -> float:
    """Sum over pairs t >= i + 2 of R[t,i] - R[i,i], divided by the number T(T-1)/2 of all pairs."""
    return _changes_of_pairs(r, gap=2)


bwt_nll = change_of_losses(per_earlier_task, "bwt_nll")
