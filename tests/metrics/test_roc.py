"""Area under the ROC curve by hand, and its interval under chance."""

from __future__ import annotations

import random

import pytest

from cl.metrics.roc import auc, null_half


@pytest.mark.parametrize(
    ("members", "others", "expected"),
    [
        ([3.0, 4.0], [1.0, 2.0], 1.0),
        ([1.0, 2.0], [3.0, 4.0], 0.0),
        ([1.0, 3.0], [2.0, 0.0], 0.75),
        ([1.0, 1.0], [1.0], 0.5),
        ([2.0], [1.0, 2.0, 3.0, 3.0], 1.5 / 4),
    ],
)
def test_the_area_by_hand(members: list[float], others: list[float], expected: float) -> None:
    assert auc(members, others) == pytest.approx(expected)
    assert auc(others, members) == pytest.approx(1 - expected)


def test_the_interval_under_chance() -> None:
    assert null_half(500, 500) / 1.959964 == pytest.approx(0.018, abs=5e-4)
    assert null_half(50, 50) / 1.959964 == pytest.approx(0.058, abs=5e-4)
    draw = random.Random(0).random
    areas = [auc([draw() for _ in range(12)], [draw() for _ in range(20)]) for _ in range(400)]
    assert 0.02 < sum(abs(area - 0.5) > null_half(12, 20) for area in areas) / len(areas) < 0.08
