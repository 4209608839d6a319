"""Tests and intervals for paired units: pure functions on plain numbers.

A *unit* is what is paired: two strategies are compared on the same seed and task order, never on pooled items of one
run. A sign-flip test of n units cannot find anything rarer than 2 / 2^n, so that bound is always told beside p.

Sources: exact sign-flip test, Holm (1979), percentile bootstrap, Cohen's d_z, Cliff's delta; why paired units, a family
that is declared and effects beside p: 2509.18868, section 4.1.5. The bootstrap and the permutations are scipy's.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np
from scipy import stats

EXACT = 20  # units up to which all 2^n flips are tried
DRAWN = 99_999  # flips that are drawn where there are more
BATCH = 10**7  # numbers that are held at a time


class Interval(NamedTuple):
    """Bounds of a mean; NaN where there is only one unit."""

    low: float
    high: float


def sign_flip(differences: Sequence[float]) -> float:
    """Two-sided p of "the mean difference is 0", had each unit's sign been a coin's.

    Exact up to 20 units; above, of 99,999 flips drawn with a fixed seed (then p is at least 1e-5). NaN of no units.
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
    """The smallest p that a two-sided sign-flip test of so many units can give: 2 / 2^n."""
    return min(1.0, math.ldexp(2.0, -units))


def units_needed(family: int, alpha: float = 0.05) -> int:
    """The fewest units with which the smallest p of a family of so many tests passes Holm's first step."""
    return next(n for n in itertools.count(1) if smallest_p(n) <= alpha / family)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjusted p-values, in the order given. An undefined one (NaN) stays so, but counts in the family."""
    adjusted, highest = [math.nan] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: (math.isnan(p_values[i]), p_values[i]))):
        if not math.isnan(p_values[place]):
            highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
            adjusted[place] = highest
    return adjusted


def interval(values: Sequence[float], level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Percentile bootstrap interval of the mean over units.

    With few units it is too narrow (of 5 normal ones it covers the mean in about 84 % of cases rather than 95): it
    describes the spread, the test decides.
    """
    if len(values) < 2:
        return Interval(math.nan, math.nan)
    found = stats.bootstrap(
        (np.asarray(values),), np.mean, confidence_level=level, n_resamples=resamples, method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval  # fmt: skip
    return Interval(float(found.low), float(found.high))


def d_z(differences: Sequence[float]) -> float:
    """Mean difference over the standard deviation of differences; NaN of fewer than two, or where none differ."""
    if len(differences) < 2:
        return math.nan
    spread = statistics.stdev(differences)
    return float(statistics.fmean(differences) / spread) if spread else math.nan


def cliffs_delta(a: Sequence[float], b: Sequence[float]) -> float:
    """P(a > b) - P(a < b) over all pairs of values, in [-1, 1]."""
    signs = np.sign(np.asarray(a)[:, None] - np.asarray(b)[None, :])
    return float(signs.mean()) if signs.size else math.nan


def mean_ranks(values: Mapping[str, Sequence[float]], better: Literal["lower", "higher"]) -> dict[str, float]:
    """Mean rank over units of each strategy, 1 = best; equals share the mean of their ranks."""
    table = np.asarray(list(values.values()))  # [strategies, units]
    ranks = stats.rankdata(table if better == "lower" else -table, axis=0)
    return dict(zip(values, ranks.mean(1).tolist(), strict=True))


class Spread(NamedTuple):
    """Standard deviations: between the means of task orders, and between seeds of one order; NaN of only one."""

    orders: float
    seeds: float


def sensitivity(values: Sequence[Sequence[float]]) -> Spread:
    """How much task orders and how much seeds change a result. values: of each order, one number by seed.

    Between seeds: the root of the mean variance inside orders. The spread of order means contains that of seeds,
    divided by their number.
    """
    means = [statistics.fmean(each) for each in values]
    inside = [statistics.variance(each) for each in values if len(each) > 1]
    return Spread(
        statistics.stdev(means) if len(means) > 1 else math.nan,
        math.sqrt(statistics.fmean(inside)) if inside else math.nan,
    )
