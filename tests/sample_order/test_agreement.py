"""Agreement of estimates with real retrainings, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cl.sample_order import agreement


def test_agreement_by_hand() -> None:
    found = agreement.agreement([1.0, 2.0, 3.0, 5.0], [2.0, 4.0, 3.0, 6.0], reference=3.0, path=0.5)
    assert found.spearman == pytest.approx(0.8)
    assert found.kendall == pytest.approx(2 / 3)
    assert found.error == pytest.approx(1.0)  # 1, 2, 0, 1
    assert found.bias == pytest.approx(-1.0)
    assert found.constant == pytest.approx(1.25)  # 1, 1, 0, 3
    assert found.spread == pytest.approx(np.std([2, 4, 3, 6], ddof=1))
    assert found.regret == 0.0
    assert found.spearman_interval[0] <= found.spearman <= found.spearman_interval[1]


def test_regret_is_one_for_a_random_choice_and_ranks_of_constants_are_not_defined() -> None:
    found = agreement.agreement([0.0, 9.0, 9.0], [2.0, 1.0, 3.0], reference=2.0)
    assert found.regret == 1.0  # chose the mean
    assert math.isnan(agreement.agreement([1.0, 1.0, 1.0], [2.0, 1.0, 3.0], 2.0).spearman)
    assert math.isnan(agreement.agreement([1.0, math.inf, 1.0], [2.0, 1.0, 3.0], 2.0).kendall)


def test_samples_are_ranked_each_by_itself() -> None:
    true = np.array([[1.0, 1.0, 5.0], [2.0, 2.0, 5.0], [3.0, 3.0, 5.0]])  # no order changes the last
    assert agreement.mean_spearman(np.array([[1.0, 3.0, 1.0], [2.0, 2.0, 2.0], [4.0, 1.0, 3.0]]), true) == 0.0
    assert agreement.mean_spearman(true, true) == pytest.approx(1.0)
    assert math.isnan(agreement.mean_spearman(true[:, 2:], true[:, 2:]))
