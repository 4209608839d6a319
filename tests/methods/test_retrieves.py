"""What is stored, how scores become ranks, and in which order examples are shown."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cl.errors import UserError
from cl.methods.retrieves import Retrieves, arranged, ranked, stored


def test_a_budget_stores_examples_that_are_evenly_spaced() -> None:
    assert stored(range(10), None) == list(range(10))
    assert stored(range(10), 4) == [0, 2, 5, 7]
    assert stored(range(3), 5) == [0, 1, 2]
    assert stored(range(0), 5) == []


def test_ranks_are_those_of_scores_and_ties_keep_the_order_of_storing() -> None:
    scores = np.array([[0.5, 0.9, 0.5, -np.inf], [-np.inf, -np.inf, -np.inf, 0.0]])
    assert ranked(scores, 4) == [[1, 0, 2], [3]]
    assert ranked(scores, 2) == [[1, 0], [3]]
    assert ranked(np.zeros((2, 0)), 2) == [[], []]


@pytest.mark.parametrize(
    ("count", "expected"), [(0, []), (1, [1]), (2, [1, 2]), (5, [1, 3, 5, 4, 2]), (6, [1, 3, 5, 6, 4, 2])]
)
def test_at_the_edges_stand_the_best(count: int, expected: list[int]) -> None:
    ranks = list(range(1, count + 1))
    assert arranged(ranks, "edges") == expected
    assert arranged(ranks, "rank") == ranks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"k": 0}, "k: 0 must be at least 1; leave the method out to show nothing"),
        ({"budget": 0}, "budget: 0 must be at least 1"),
        ({"context": -3}, "context: -3 must be at least 1"),
        ({"index": "online"}, "index: 'online' is neither growing nor frozen"),
        ({"order": "middle"}, "order: 'middle' is neither rank nor edges"),
    ],
)
def test_settings(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Retrieves(**settings)
