"""General ability: the change of retained sets, which are never trained on."""

from __future__ import annotations

from cl.metrics.formula import SCORE_CHANGE, change_of_losses, formula
from cl.metrics.result_matrix import ResultMatrix, mean


@formula("x_delta", better="higher", unit=SCORE_CHANGE, source="TRACE (2310.06762)", compares_rows=True)
def x_delta(r: ResultMatrix) -> float:
    """Mean over retained sets i of R[T,i] - R[0,i]."""
    return mean(r(r.T, i) - r(0, i) for i in r.retained())


x_delta_nll = change_of_losses(x_delta, "x_delta_nll")
