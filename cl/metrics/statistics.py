"""Tests and intervals for paired units: pure functions on plain numbers.

A *unit* is one pair of results: two strategies with the same seed and task order. Items of one run are never pooled as
units. The smallest p of a sign-flip test of n units is 2 / 2^n, so every output reports this bound with p.

Sources:

* exact sign-flip test; Holm (1979); percentile bootstrap; Cohen's d_z; Cliff's delta;
* paired units, a declared family of tests, and effect sizes with p: 2509.18868, section 4.1.5;
* bootstrap and permutations are computed by scipy.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

EXACT = 20  # largest number of units for which all 2^n sign flips are computed
DRAWN = 99_999  # sign flips that are drawn for more units
BATCH = 10**7  # numbers in memory at a time


class Interval(NamedTuple):
    """Bounds of a mean; NaN if there is only one unit."""

    low: float
    high: float


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of the sign-flip test of "the mean difference is 0".

    Exact up to 20 units; for more units 99,999 flips are drawn with a fixed seed, and p is at least 1e-5.

    Args:
        differences: one number per unit.

    Returns:
        p; NaN for no units.
    """
    if len(differences) < 2:
        return 1.0 if differences else math.nan
    count = 2 ** len(differences) if len(differences) <= EXACT else DRAWN
    generator = np.random.default_rng(0)
    found = stats.permutation_test(
        (np.asarray(differences),), np.mean, permutation_type="samples", n_resamples=count, rng=generator,
        batch=max(1, BATCH // len(differences)),
    )  # fmt: skip
    return float(found.pvalue)


def smallest_p(units: int) -> float:
    """The smallest p that a two-sided sign-flip test of n units can give: 2 / 2^n."""
    return min(1.0, math.ldexp(2.0, -units))


def units_needed(family: int, alpha: float = 0.05) -> int:
    """The smallest number of units for which a test can be significant.

    Args:
        family: number of tests in the family.
        alpha: level of significance. The smallest p must be at most alpha / family, Holm's first step.
    """
    return next(n for n in itertools.count(1) if smallest_p(n) <= alpha / family)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of Holm (1979), in the given order.

    Args:
        p_values: p of each test of the family. An undefined p (NaN) stays NaN and counts in the size of the family.
    """
    adjusted, highest = [math.nan] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: (math.isnan(p_values[i]), p_values[i]))):
        if not math.isnan(p_values[place]):
            highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
            adjusted[place] = highest
    return adjusted


def interval(values: Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean over units.

    With few units the interval is too narrow: for 5 normal units a 95 % interval covers the mean in about 84 % of
    cases. It describes the spread; the test decides.

    Args:
        values: one number per unit.
        level: level of the interval.
        resamples: number of bootstrap samples.
        seed: seed of the bootstrap.
    """
    if len(values) < 2:
        return Interval(math.nan, math.nan)
    found = stats.bootstrap(
        (np.asarray(values),), np.mean, confidence_level=level, n_resamples=resamples, method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Interval(float(found.low), float(found.high))


def d_z(differences: Sequence[float]) -> float:
    """Cohen's d_z: mean difference divided by the standard deviation of the differences.

    Args:
        differences: one number per unit.

    Returns:
        d_z; NaN for fewer than two units, or if all differences are equal.
    """
    if len(differences) < 2:
        return math.nan
    spread = statistics.stdev(differences)
    return float(statistics.fmean(differences) / spread) if spread else math.nan


def cliffs_delta(a: Sequence[float], b: Sequence[float]) -> float:
    """Cliff's delta: P(a > b) - P(a < b) over all pairs of values, in [-1, 1]; NaN if there is no pair."""
    signs = np.sign(np.asarray(a)[:, None] - np.asarray(b)[None, :])
    return float(signs.mean()) if signs.size else math.nan


def mean_ranks(values: Mapping[str, Sequence[float]], better: Literal["lower", "higher"]) -> dict[str, float]:
    """Mean rank of each strategy over units, 1 = best; equal values share the mean of their ranks.

    Args:
        values: by strategy, one number per unit.
        better: which end of the values is better.
    """
    table = np.asarray(list(values.values()))  # [strategies, units]
    ranks = stats.rankdata(table if better == "lower" else -table, axis=0)
    return dict(zip(values, ranks.mean(1).tolist(), strict=True))


class Spread(NamedTuple):
    """Standard deviations between the means of task orders, and between seeds of one order.

    Either is NaN if there is only one order or seed.
    """

    orders: float
    seeds: float


def sensitivity(values: Sequence[Sequence[float]]) -> Spread:
    """How much task orders and seeds change a result.

    The spread between seeds is the root of the mean variance inside orders. The variance of the order means contains
    the variance between seeds divided by the number of seeds.

    Args:
        values: of each task order, one number per seed.
    """
    means = [statistics.fmean(each) for each in values]
    inside = [statistics.variance(each) for each in values if len(each) > 1]
    return Spread(
        statistics.stdev(means) if len(means) > 1 else math.nan,
        math.sqrt(statistics.fmean(inside)) if inside else math.nan,
    )
