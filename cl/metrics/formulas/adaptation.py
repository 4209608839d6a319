"""Adaptation: how much loss learning a task removes.

Row i-1 of the losses must be of the state from which task i was learned. Tasks that a pretrained model had learned
before the run have no adaptation.
"""

from __future__ import annotations

from cl.metrics.formula import NATS, formula
from cl.metrics.result_matrix import ResultMatrix, mean


@formula(
    "adaptation/nll/{i}",
    better="higher",
    unit=NATS,
    source="Ibrahim et al. 2024 (2403.08763)",
    inputs=("losses",),
    compares_rows=True,
    numbers=ResultMatrix.learned,
)
def adaptation_of_task(r: ResultMatrix, i: int) -> float:
    """R[i-1,i] - R[i,i], with R the loss."""
    return r(i - 1, i) - r(i, i)


@formula(
    "adaptation/nll",
    better="higher",
    unit=NATS,
    source="Ibrahim et al. 2024 (2403.08763)",
    inputs=("losses",),
    compares_rows=True,
)
def adaptation(r: ResultMatrix) -> float:
    """Mean over tasks i that the run learned of R[i-1,i] - R[i,i], with R the loss."""
    return mean(r(i - 1, i) - r(i, i) for i in r.learned())
