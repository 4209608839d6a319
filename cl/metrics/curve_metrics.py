"""Metrics of curves evaluated inside tasks: the stability gap and the windowed changes of 2205.13452.

Pure functions. The minima over rows of R in `cl.metrics.continual` see task boundaries only and so are upper bounds;
these see what happens in between.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np

from cl.metrics.continual import Metric


def stability_gap(curves: Sequence[Sequence[float]], current: float, every: int) -> list[Metric]:
    """`min_acc/every_N` and `wc_acc/every_N` (2205.13452) from evaluations every N optimizer steps.

    curves: for each earlier task the scores (higher is better) of all evaluations after its own training,
    the one before the next task's first update included; current: score of the current task now.
    """
    k = len(curves) + 1
    lowest = [float(np.min(curve)) if len(curve) else math.nan for curve in curves]  # np.min passes NaN on
    reason = "there is no earlier task" if k == 1 else "an evaluation is missing" if np.isnan(lowest).any() else ""
    minimum = math.nan if reason else statistics.fmean(lowest)
    missing = reason or ("the current task was not evaluated" if math.isnan(current) else "")
    worst = current / k + (1 - 1 / k) * minimum
    return [Metric(f"min_acc/every_{every}", minimum, reason), Metric(f"wc_acc/every_{every}", worst, missing)]


def windowed_forgetting(curve: Sequence[float], window: int) -> Metric:
    """`wf/window`: largest fall A(m) - A(n), m < n, inside any `window` evaluations of one task (2205.13452).

    Not clipped: negative where the curve only rises.
    """
    return _windowed(f"wf/{window}", curve, window, sign=1)


def windowed_plasticity(curve: Sequence[float], window: int) -> Metric:
    """`wp/window`: largest rise A(n) - A(m), m < n, inside any `window` evaluations of one task (2205.13452).

    Deviation from the authors' code, which reuses the pruning of falls and so misses rises from a start
    that is not the maximum: on [.5, .3, .9] it gives .4, the formula .6.
    """
    return _windowed(f"wp/{window}", curve, window, sign=-1)


def _windowed(key: str, curve: Sequence[float], window: int, sign: int) -> Metric:
    if len(curve) < 2 or window < 2:
        return Metric(key, math.nan, f"needs 2 evaluations in a window, has {min(len(curve), window)}")
    if np.isnan(curve).any():
        return Metric(key, math.nan, "an evaluation is missing")
    pairs = ((m, n) for m in range(len(curve)) for n in range(m + 1, min(m + window, len(curve))))
    return Metric(key, max(sign * (curve[m] - curve[n]) for m, n in pairs))
