"""Searches for an order: far better than chance, each order once."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from cl.errors import UserError
from cl.sample_order import searching

PLANTED = (3, 0, 5, 1, 4, 2, 7, 6)


def inversions(orders: Sequence[tuple[int, ...]]) -> list[float]:
    """How many pairs come in another order than the planted one: 0 at the optimum."""
    rank = {item: place for place, item in enumerate(PLANTED)}
    return [float(sum(rank[a] > rank[b] for a, b in itertools.combinations(order, 2))) for order in orders]


@pytest.mark.parametrize("method", ["anneal", "genetic", pytest.param("optuna", marks=pytest.mark.slow)])
def test_a_search_beats_random_orders_by_far(method: searching.Method) -> None:
    found = searching.search(method, inversions, 8, 1200, seed=1, keep=5)
    best = next(iter(found.values()))
    drawn = inversions([tuple(random.Random(i).sample(range(8), 8)) for i in range(500)])
    assert best < np.mean(drawn) - 3 * np.std(drawn)
    assert best == inversions([next(iter(found))])[0]
    assert list(found.values()) == sorted(found.values())
    assert len(found) == 5
    assert all(sorted(order) == list(range(8)) for order in found)


def test_annealing_finds_the_planted_order() -> None:
    assert next(iter(searching.search("anneal", inversions, 8, 4000))) == PLANTED


def test_no_order_is_asked_for_twice() -> None:
    asked: list[tuple[int, ...]] = []

    def losses(orders: Sequence[tuple[int, ...]]) -> list[float]:
        asked.extend(orders)
        return inversions(orders)

    searching.search("anneal", losses, 4, 640)
    assert len(asked) == len(set(asked)) <= math.factorial(4)


def test_moves_and_crossovers_are_permutations_and_lehmer_codes_name_each_once() -> None:
    generator = random.Random(0)
    order = tuple(range(7))
    for _ in range(200):
        order = searching.move(order, generator)
        child = searching.crossover(order, tuple(generator.sample(range(7), 7)), generator)
        assert sorted(order) == sorted(child) == list(range(7))
    codes = itertools.product(*(range(4 - k) for k in range(4)))
    assert len({searching.from_lehmer(code) for code in codes}) == 24
    assert searching.from_lehmer([2, 0, 1, 0]) == (2, 0, 3, 1)


@pytest.mark.parametrize(
    ("method", "trials", "message"),
    [("swarm", 100, "'swarm' is none of anneal"), ("anneal", 3, "3 is less than the 32")],
)
def test_a_search_that_cannot_be_is_refused(method: searching.Method, trials: int, message: str) -> None:
    with pytest.raises(UserError, match=message):
        searching.search(method, inversions, 8, trials)
