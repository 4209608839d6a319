"""Tests and intervals by hand, against scipy's and textbook values, and by simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from cl.metrics import statistics


def by_hand(differences: list[float]) -> float:
    """All 2^n flips, counted."""
    observed = abs(sum(differences))
    flips = list(itertools.product((1, -1), repeat=len(differences)))
    extreme = sum(
        abs(sum(s * d for s, d in zip(signs, differences, strict=True))) >= observed - 1e-12 for signs in flips
    )
    return extreme / len(flips)


@pytest.mark.parametrize("units", [2, 3, 5, 6, 10])
def test_p_is_two_in_all_flips_where_every_unit_agrees(units: int) -> None:
    assert statistics.sign_flip([0.1 * (i + 1) for i in range(units)]) == pytest.approx(2 / 2**units)
    assert statistics.smallest_p(units) == 2 / 2**units


@pytest.mark.parametrize(
    "differences", [[1.0, 2.0, -0.5], [0.3, -0.2, 0.1, 0.4, -0.05], [1.0, 1.0, -1.0, 1.0], [0.0, 0.0, 0.0]]
)
def test_p_counts_the_flips_at_least_as_extreme(differences: list[float]) -> None:
    assert statistics.sign_flip(differences) == pytest.approx(by_hand(differences))


def test_p_of_few_and_of_many_units() -> None:
    assert math.isnan(statistics.sign_flip([]))
    assert statistics.sign_flip([3.0]) == 1.0
    assert statistics.sign_flip([1.0] * 25) == pytest.approx(2e-5)  # drawn: never 0
    assert statistics.sign_flip([1.0, -1.0] * 15) == pytest.approx(1.0, abs=0.01)


def test_false_alarms_are_as_rare_as_alpha_says() -> None:
    generator = np.random.default_rng(0)
    alarms = [statistics.sign_flip(generator.normal(size=7).tolist()) <= 0.05 for _ in range(600)]
    assert 0.02 < np.mean(alarms) < 0.08


def test_runs_that_share_an_order_are_no_independent_units() -> None:
    """Why `compare` says that p holds for these orders: a strategy that suits one of them looks like a better one."""
    generator = np.random.default_rng(0)
    alarms = []
    for _ in range(400):
        suits = generator.normal(size=2).repeat(4)  # two orders x four seeds, as spread as the seeds
        alarms.append(statistics.sign_flip((suits + generator.normal(size=8)).tolist()) <= 0.05)
    assert np.mean(alarms) > 0.15


def test_units_that_a_family_needs() -> None:
    needed = {1: 6, 2: 7, 3: 7, 4: 8, 6: 8, 7: 9, 12: 9, 20: 10}
    assert {family: statistics.units_needed(family) for family in needed} == needed


def test_holm_by_hand() -> None:
    # sorted .01 .02 .03 .04 times 4, 3, 2, 1 = .04 .06 .06 .04, and never below the one before
    assert statistics.holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert statistics.holm([0.9, 0.8]) == [1.0, 1.0]
    adjusted = statistics.holm([math.nan, 0.01])
    assert math.isnan(adjusted[0])
    assert adjusted[1] == 0.02  # what was not tested still belongs to the family


def test_intervals_cover_as_the_docstring_says() -> None:
    generator = np.random.default_rng(1)
    found = [statistics.interval(generator.normal(size=20).tolist(), resamples=500) for _ in range(300)]
    assert 0.88 < np.mean([low <= 0 <= high for low, high in found]) < 0.97
    few = [statistics.interval(generator.normal(size=5).tolist(), resamples=500) for _ in range(300)]
    assert 0.78 < np.mean([low <= 0 <= high for low, high in few]) < 0.90


def test_an_interval_of_one_unit_or_of_equal_ones() -> None:
    assert all(map(math.isnan, statistics.interval([1.0])))
    assert statistics.interval([2.0, 2.0, 2.0]) == (2.0, 2.0)


def test_effects_by_hand() -> None:
    assert statistics.d_z([1.0, 2.0, 3.0]) == pytest.approx(2.0)
    assert math.isnan(statistics.d_z([1.0, 1.0]))
    assert statistics.cliffs_delta([3.0, 4.0], [1.0, 3.0]) == pytest.approx((3 - 0) / 4)
    assert statistics.cliffs_delta([1.0], [2.0]) == -1.0


def test_ranks_share_ties() -> None:
    values = {"a": [1.0, 2.0], "b": [1.0, 1.0], "c": [3.0, 3.0]}
    assert statistics.mean_ranks(values, "lower") == {"a": 1.75, "b": 1.25, "c": 3.0}
    assert statistics.mean_ranks(values, "higher") == {"a": 2.25, "b": 2.75, "c": 1.0}


def test_spread_over_orders_and_seeds() -> None:
    found = statistics.sensitivity([[1.0, 3.0], [5.0, 7.0]])
    assert found.orders == pytest.approx(math.sqrt(8))  # of 2 and 6
    assert found.seeds == pytest.approx(math.sqrt(2))
    assert all(map(math.isnan, statistics.sensitivity([[1.0]])))
