"""Forward transfer: the score of a task right before it is learned."""

from __future__ import annotations

from cl.metrics.formula import SCORE, SCORE_CHANGE, change_of_losses, formula
from cl.metrics.result_matrix import ResultMatrix, mean


@formula(
    "fwt/gem", better="higher", unit=SCORE_CHANGE, source="GEM (1706.08840); Renate; Avalanche", compares_rows=True
)
def gem(r: ResultMatrix) -> float:
    """Mean over tasks i >= 2 of R[i-1,i] - R[0,i].

    As in GEM's paper; its code divides by T instead of T - 1.
    """
    return mean(r(i, i + 1) - r(0, i + 1) for i in r.earlier())


@formula("fwt/no_baseline", better="higher", unit=SCORE, source="continuum", compares_rows=True)
def no_baseline(r: ResultMatrix) -> float:
    """Mean over tasks i >= 2 of R[i-1,i]."""
    return mean(r(i, i + 1) for i in r.earlier())


gem_nll = change_of_losses(gem, "fwt/gem_nll")
