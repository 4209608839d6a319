"""Means over runs with their 95 % intervals, for the tables of the experiments."""

from __future__ import annotations

import math
import statistics
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

    def __str__(self) -> str:
        return f"{self.mean:.2f}" if len(self.values) < 2 else f"{self.mean:.2f} ± {self.half:.2f}"
