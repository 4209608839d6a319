"""Stability: the lowest score of earlier tasks while later tasks are learned.

Rows of R are evaluated at task boundaries only, so `min_acc/rows` and `wc_acc/rows` are upper bounds; the metrics of
curves are evaluated every n optimizer steps. Scores of tasks that are not yet learned never enter a minimum.
"""

from __future__ import annotations

import math

import numpy as np

from cl.metrics.curve_metrics import Curves
from cl.metrics.formula import SCORE, formula
from cl.metrics.result_matrix import ResultMatrix, UndefinedError, mean

SOURCE = "De Lange et al. 2023 (2205.13452)"


def _lowest(r: ResultMatrix) -> float:
    return mean(min(r(s, i) for s in range(i, r.T + 1)) for i in r.earlier())


@formula("min_acc/rows", better="higher", unit=SCORE, source=SOURCE, compares_rows=True)
def min_acc_of_rows(r: ResultMatrix) -> float:
    """Mean over tasks i < T of min(R[s,i] for s >= i)."""
    return _lowest(r)


@formula("wc_acc/rows", better="higher", unit=SCORE, source=SOURCE, compares_rows=True)
def wc_acc_of_rows(r: ResultMatrix) -> float:
    """R[T,T] / T + (1 - 1/T) min_acc."""
    return r(r.T, r.T) / r.T + (1 - 1 / r.T) * _lowest(r)


def _lowest_of_curves(curves: Curves) -> float:
    if not curves.earlier:
        raise UndefinedError("there is no earlier task")
    lowest = [float(np.min(curve)) if len(curve) else math.nan for curve in curves.earlier]  # np.min passes NaN on
    if np.isnan(lowest).any():
        raise UndefinedError("an evaluation is missing")
    return mean(lowest)


@formula(
    "min_acc/every_{n}",
    better="higher",
    unit=SCORE,
    source=SOURCE,
    inputs=("curves",),
    compares_rows=True,
    numbers=Curves.numbers,
)
def min_acc_of_curves(curves: Curves, n: int) -> float:
    """Mean over earlier tasks of the lowest score since the task was learned, evaluated every n optimizer steps."""
    return _lowest_of_curves(curves)


@formula(
    "wc_acc/every_{n}",
    better="higher",
    unit=SCORE,
    source=SOURCE,
    inputs=("curves",),
    compares_rows=True,
    numbers=Curves.numbers,
)
def wc_acc_of_curves(curves: Curves, n: int) -> float:
    """Score of the current task k, divided by k, + (1 - 1/k) min_acc of the curves."""
    lowest = _lowest_of_curves(curves)
    if math.isnan(curves.current):
        raise UndefinedError("the current task was not evaluated")
    k = len(curves.earlier) + 1
    return curves.current / k + (1 - 1 / k) * lowest
