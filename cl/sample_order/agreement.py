"""How well estimates agree with real retrainings: pure functions of two lists.

Ranks decide which order is chosen, absolute errors whether its loss is believed; the two can disagree, so both are
reported, beside what a constant would get and the spread of the truth. Tags of the formulas: Spearman and Kendall from
scipy, percentile bootstrap (Efron), regret and relative error from the project's specification.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
RESAMPLES = 1000


@dataclass(frozen=True)
class Agreement:
    """Of n orders: ranks with 95 % bootstrap intervals, and errors in nats per token.

    spearman, kendall: NaN where either list is constant; error: mean |estimate - truth|; bias: mean estimate - truth;
    constant: mean |reference - truth|, what "the order does not matter" gets; spread: standard deviation of the truth;
    regret: (true loss of the order estimated best - best) / (mean - best), 0 = the best was found, 1 = no better than a
    random one; path: relative error of the parameters, 1 = no better than the reference's own.
    """

    orders: int
    spearman: float
    spearman_interval: tuple[float, float]
    kendall: float
    kendall_interval: tuple[float, float]
    error: float
    bias: float
    constant: float
    spread: float
    regret: float
    path: float


def agreement(
    estimated: Sequence[float], true: Sequence[float], reference: float, path: float = float("nan"), seed: int = 0
) -> Agreement:
    """Compare estimates with the truth; reference: the loss of the given order."""
    a, b = np.asarray(estimated, dtype=np.float64), np.asarray(true, dtype=np.float64)
    mean_to_best = b.mean() - b.min()
    return Agreement(
        len(b),
        spearman(a, b),
        interval(spearman, a, b, seed),
        kendall(a, b),
        interval(kendall, a, b, seed),
        float(np.abs(a - b).mean()),
        float((a - b).mean()),
        float(np.abs(reference - b).mean()),
        float(b.std(ddof=1)) if len(b) > 1 else float("nan"),
        float((b[a.argmin()] - b.min()) / mean_to_best) if mean_to_best > 0 and np.isfinite(a).all() else float("nan"),
        path,
    )


def spearman(a: Floats, b: Floats) -> float:
    """Rank correlation; NaN where a list is constant, not finite, or shorter than 2."""
    if not _ranked(a, b):
        return float("nan")
    return float(stats.spearmanr(a, b).statistic)


def mean_spearman(estimated_SN: Floats, true_SN: Floats) -> float:
    """The mean rank correlation over N samples, of S orders each; NaN where no sample has one."""
    found = [spearman(a, b) for a, b in zip(estimated_SN.T, true_SN.T, strict=True)]
    return float(np.mean(known)) if (known := [value for value in found if not np.isnan(value)]) else float("nan")


def kendall(a: Floats, b: Floats) -> float:
    """Kendall's tau-b; NaN where a list is constant, not finite, or shorter than 2."""
    if not _ranked(a, b):
        return float("nan")
    return float(stats.kendalltau(a, b).statistic)


def _ranked(a: Floats, b: Floats) -> bool:
    return len(a) > 1 and bool(np.isfinite(a).all() and np.ptp(a) > 0 and np.ptp(b) > 0)


def interval(of: Callable[[Floats, Floats], float], a: Floats, b: Floats, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval over the pairs; NaN where no resample has a value."""
    generator = np.random.default_rng(seed)
    found = [of(a[at], b[at]) for at in generator.integers(0, len(a), (RESAMPLES, len(a)))]
    values = np.asarray([value for value in found if not np.isnan(value)])
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
