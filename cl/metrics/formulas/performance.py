"""Performance: scores or losses of the tasks learned so far, at the end and along the way."""

from __future__ import annotations

from cl.metrics.formula import SCORE, formula, level_of_losses
from cl.metrics.result_matrix import ResultMatrix, mean


def _row(r: ResultMatrix, t: int) -> float:
    return mean(r(t, i) for i in range(1, t + 1))


@formula("op_final", better="higher", unit=SCORE, source="GEM (1706.08840), there ACC; also named AP, MFN")
def op_final(r: ResultMatrix) -> float:
    """Mean over tasks i of R[T,i]."""
    return _row(r, r.T)


@formula("op_mean", better="higher", unit=SCORE, source="CoIN (2403.08350) and SEFE (2505.02486), there MAA")
def op_mean(r: ResultMatrix) -> float:
    """Mean over rows t of the mean over tasks i <= t of R[t,i]."""
    return mean(_row(r, t) for t in r.tasks())


@formula("mft", better="higher", unit=SCORE, source="SEFE (2505.02486); MCITlib")
def mft(r: ResultMatrix) -> float:
    """Mean over tasks t of R[t,t]."""
    return mean(r(t, t) for t in r.tasks())


@formula("op_t/{t}", better="higher", unit=SCORE, source="TRACE (2310.06762); Renate", numbers=ResultMatrix.tasks)
def op_t(r: ResultMatrix, t: int) -> float:
    """Mean over tasks i <= t of R[t,i]."""
    return _row(r, t)


@formula(
    "learned/{t}", better="higher", unit=SCORE, source="diagonal of R, GEM (1706.08840)", numbers=ResultMatrix.tasks
)
def learned(r: ResultMatrix, t: int) -> float:
    """R[t,t]: task t right after it was learned."""
    return r(t, t)


op_final_nll = level_of_losses(op_final, "op_final_nll")
op_mean_nll = level_of_losses(op_mean, "op_mean_nll")
mft_nll = level_of_losses(mft, "mft_nll")
op_t_nll = level_of_losses(op_t, "op_t_nll/{t}")
learned_nll = level_of_losses(learned, "learned_nll/{t}")
