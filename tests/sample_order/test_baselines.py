"""What the same cost buys without an estimator."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import numpy as np
import pytest

from cl.sample_order import agreement, baselines

PLANTED = (3, 0, 5, 1, 4, 2, 7, 6)


def inversions(orders: Sequence[tuple[int, ...]]) -> list[float]:
    """How many pairs come in another order than the planted one: 0 at the optimum."""
    rank = {item: place for place, item in enumerate(PLANTED)}
    return [float(sum(rank[a] > rank[b] for a, b in itertools.combinations(order, 2))) for order in orders]


def test_ridge_learns_a_loss_of_precedence() -> None:
    orders = [tuple(random.Random(i).sample(range(8), 8)) for i in range(120)]
    losses = inversions(orders)
    guessed = baselines.ridge(orders[:80], losses[:80], orders[80:])
    assert agreement.spearman(guessed, np.asarray(losses[80:])) > 0.95
    assert (
        agreement.spearman(baselines.ridge(orders[:80], losses[:80], orders[80:], "both"), np.asarray(losses[80:]))
        > 0.9
    )


def test_features_by_hand() -> None:
    assert baselines.precedence([(1, 0, 2)]).tolist() == [[-1.0, 1.0, 1.0]]  # 0<1, 0<2, 1<2
    assert baselines.positions([(1, 0)]).tolist() == [[0.0, 1.0, 1.0, 0.0]]  # batch 0 at 1, batch 1 at 0
    assert baselines.best_of([1.0, 1.0], 3) == 1.0
    assert baselines.best_of([1.0, 2.0, 3.0], 1) == pytest.approx(2.0, abs=0.1)
    assert baselines.best_of([1.0, 2.0, 3.0], 50) == 1.0
