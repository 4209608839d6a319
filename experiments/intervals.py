"""Means over runs with their 95 % intervals, and verdicts on them, for the tables of the experiments."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True)
class Interval:
    """Mean over runs with its 95 % t-interval.

    Args:
        values: the value of each run.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Mean over runs."""
        return statistics.fmean(self.values)

    @property
    def half(self) -> float:
        """Half-width of the 95 % interval from Student's t with n - 1 degrees of freedom; NaN with one run or a NaN."""
        n = len(self.values)
        if n < 2 or math.isnan(self.mean):
            return math.nan
        return float(stats.t.ppf(0.975, n - 1) * statistics.stdev(self.values) / math.sqrt(n))

    def __sub__(self, other: Interval) -> Interval:
        """Difference of each pair of runs.

        Raises:
            ValueError: the numbers of runs differ.
        """
        return Interval(tuple(a - b for a, b in zip(self.values, other.values, strict=True)))

    @property
    def ends(self) -> tuple[float, float]:
        """Lower and upper end."""
        return self.mean - self.half, self.mean + self.half

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if len(self.values) < 2 else f"{self.mean:.2f} ± {self.half:.2f}"


Claim = tuple[str, str, str]
"""A claim, its verdict, and the figures that decide it."""


def above(value: Interval, bound: float = 0.0) -> str:
    """Verdict on a claim that a mean exceeds a bound: `holds` or `fails` only if its interval lies on one side."""
    low, high = value.ends
    return "holds" if low > bound else "fails" if high < bound else "not decided"


def listed(claims: Sequence[Claim]) -> str:
    """Claims with verdicts and figures as a Markdown list."""
    return "".join(f"- {claim}: **{verdict}** ({figures})\n" for claim, verdict, figures in claims)


def mean_of(values: Sequence[Interval]) -> Interval:
    """Mean of several figures in each run."""
    return Interval(tuple(statistics.fmean(each) for each in zip(*(value.values for value in values), strict=True)))
