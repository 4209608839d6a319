"""Agreement of estimated losses with the losses of real retrainings: pure functions of two lists.

Rank correlations tell whether the best order is found, absolute errors whether its estimated loss is right. The two can
disagree, so both are reported, together with the error of a constant estimate and the spread of the true losses.

Sources: Spearman and Kendall correlation from scipy; percentile bootstrap (Efron); regret and relative error from the
project's specification.
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
    """Agreement of an estimator with real retrainings of n orders; errors in nats per token.

    Args:
        orders: number of orders, n.
        spearman: rank correlation of Spearman; NaN if either list is constant.
        spearman_interval: 95 % bootstrap interval of `spearman`.
        kendall: rank correlation of Kendall; NaN if either list is constant.
        kendall_interval: 95 % bootstrap interval of `kendall`.
        error: mean |estimate - truth|.
        bias: mean (estimate - truth).
        constant: mean |reference - truth|: the error of the estimate "the order does not matter".
        spread: standard deviation of the true losses.
        regret: (true loss of the order with the lowest estimate - lowest true loss) / (mean true loss - lowest true
            loss); 0 = the best order was found, 1 = no better than a random order.
        path: relative error of the final parameters; 1 = no better than the final parameters of the reference.
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
    """Compare estimated losses with true losses.

    Args:
        estimated: estimated loss of each order, nats per token.
        true: loss of each order after a real retraining, nats per token.
        reference: loss of the given order, nats per token.
        path: relative error of the final parameters, copied into the result; NaN if unknown.
        seed: seed of the bootstrap.
    """
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
    """Spearman's rank correlation; NaN if a list is constant, not finite or shorter than 2."""
    if not _ranked(a, b):
        return float("nan")
    return float(stats.spearmanr(a, b).statistic)


def mean_spearman(estimated_SN: Floats, true_SN: Floats) -> float:
    """Mean rank correlation over N samples; NaN if no sample has a defined correlation.

    Args:
        estimated_SN: estimated loss of each sample after each of S orders, [S, N].
        true_SN: true losses, [S, N].
    """
    found = [spearman(a, b) for a, b in zip(estimated_SN.T, true_SN.T, strict=True)]
    return float(np.mean(known)) if (known := [value for value in found if not np.isnan(value)]) else float("nan")


def kendall(a: Floats, b: Floats) -> float:
    """Kendall's tau-b; NaN if a list is constant, not finite or shorter than 2."""
    if not _ranked(a, b):
        return float("nan")
    return float(stats.kendalltau(a, b).statistic)


def _ranked(a: Floats, b: Floats) -> bool:
    """Whether a rank correlation of the two lists is defined."""
    return len(a) > 1 and bool(np.isfinite(a).all() and np.ptp(a) > 0 and np.ptp(b) > 0)


def interval(of: Callable[[Floats, Floats], float], a: Floats, b: Floats, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a statistic of pairs; NaN if no resample has a defined value.

    Args:
        of: the statistic, a function of two lists.
        a: first value of each pair.
        b: second value of each pair.
        seed: seed of the resampling.
    """
    generator = np.random.default_rng(seed)
    found = [of(a[at], b[at]) for at in generator.integers(0, len(a), (RESAMPLES, len(a)))]
    values = np.asarray([value for value in found if not np.isnan(value)])
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)
