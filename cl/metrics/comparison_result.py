"""Results of a comparison: tests, standings and costs of strategies, as plain records."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from cl.metrics.probed import Probed
from cl.metrics.statistics import Interval, Spread, smallest_p, units_needed
from cl.metrics.transitions import Change

NOTHING = Interval(math.nan, math.nan)
UNITS = {"run": "seed x task order", "seed": "seed, mean over task orders", "order": "task order, mean over seeds"}
"""Units of `compare.unit` in words."""


@dataclass(frozen=True)
class Contrast:
    """Strategy `a` compared with `b` on one metric: one test of the family.

    Args:
        metric: key of the metric.
        a: label of the strategy that the verdict is about.
        b: label of the other strategy.
        differences: a - b by unit, in the metric's unit.
        mean: mean difference.
        interval: bootstrap interval of the mean.
        p: two-sided sign-flip test.
        adjusted: p after Holm's adjustment over the family.
        d_z: Cohen's effect size of the paired differences.
        delta: Cliff's effect size over all pairs of units.
        verdict: of `a`.
        reason: why the test is undefined; else empty.
    """

    metric: str
    a: str
    b: str
    differences: dict[str, float]
    mean: float = math.nan
    interval: Interval = NOTHING
    p: float = math.nan
    adjusted: float = math.nan
    d_z: float = math.nan
    delta: float = math.nan
    verdict: Literal["better", "worse", "not decided", "undefined"] = "undefined"
    reason: str = ""


@dataclass(frozen=True)
class Standing:
    """One strategy on one metric.

    Args:
        strategy: label.
        values: the metric by unit.
        mean: mean over units.
        interval: bootstrap interval of the mean.
        rank: mean rank over units, 1 = best; NaN if the metric is undefined in a unit.
        spread: standard deviations between task orders and between seeds.
    """

    strategy: str
    values: dict[str, float]
    mean: float
    interval: Interval
    rank: float
    spread: Spread


@dataclass(frozen=True)
class Cost:
    """Mean cost of a run of one strategy.

    Args:
        strategy: label.
        tokens: trained tokens.
        seconds: training time.
        tokens_ratio: tokens divided by the baseline's.
        seconds_ratio: training time divided by the baseline's.
        matched: whether tokens differ from the baseline's by at most 1 %.
    """

    strategy: str
    tokens: float
    seconds: float
    tokens_ratio: float
    seconds_ratio: float
    matched: bool


@dataclass(frozen=True)
class Comparison:
    """The result of `cl compare`.

    Args:
        baseline: label of the strategy that costs are divided by.
        unit: `compare.unit`.
        units: names of the units.
        alpha: largest adjusted p that is called a difference.
        level: level of the intervals.
        contrasts: tests of the family.
        standings: by metric, all strategies, the best first.
        groups: by metric, sets of strategies adjacent in rank between which no test of all pairs (with Holm's
            adjustment over the pairs of the metric) finds a difference: the bars of the rank figure.
        costs: of all strategies.
        dependent: whether units share seeds and orders.
        transitions: answers forgotten and gained by the end, by strategy and set; empty without scored answers.
        probes: figures of probes by strategy and row of R; empty without probes.
    """

    baseline: str
    unit: str
    units: list[str]
    alpha: float
    level: float
    contrasts: list[Contrast]
    standings: dict[str, list[Standing]]
    groups: dict[str, list[list[str]]]
    costs: list[Cost]
    dependent: bool
    transitions: list[Change] = field(default_factory=list)
    probes: list[Probed] = field(default_factory=list)

    @property
    def can_be_significant(self) -> bool:
        """Whether the smallest p of so many units passes Holm's first step in this family."""
        return smallest_p(len(self.units)) <= self.alpha / len(self.contrasts)

    @property
    def power(self) -> str:
        """Whether any test of the family can be significant, in one sentence."""
        n, family = len(self.units), len(self.contrasts)
        tests = "1 test" if family == 1 else f"a family of {family} tests"
        if not self.can_be_significant:
            return (
                f"cannot reach p < {self.alpha:g} with n = {n}: the smallest p is {smallest_p(n):.2g}; {tests} needs "
                f"{units_needed(family, self.alpha)} units"
            )
        if self.dependent:
            return (
                f"n = {n} units ({UNITS[self.unit]}), {tests}; units share seeds and orders, so p holds for these "
                "and says nothing of others: compare.unit: seed, or order, would"
            )
        return f"n = {n} units ({UNITS[self.unit]}), {tests}, smallest p {smallest_p(n):.2g}"
