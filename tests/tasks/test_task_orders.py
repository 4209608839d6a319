"""Task orders: each place once, balanced neighbours, and as one key of an experiment."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from cl.errors import UserError
from cl.tasks import scenario, task_orders


@pytest.mark.parametrize("count", range(1, 9))
def test_a_latin_square_has_each_task_once_at_every_place(count: int) -> None:
    tasks = [f"t{i}" for i in range(count)]
    orders = task_orders.latin_square(tasks)
    assert orders[0] == tasks
    assert all(sorted(order) == sorted(tasks) for order in orders)
    assert all(sorted(column) == sorted(tasks) for column in zip(*orders, strict=True))


@pytest.mark.parametrize("count", [2, 4, 6, 8])
def test_an_even_latin_square_has_each_pair_of_neighbours_once(count: int) -> None:
    neighbours = Counter(
        pair for order in task_orders.latin_square([*map(str, range(count))]) for pair in pairwise(order)
    )
    assert len(neighbours) == count * (count - 1)
    assert set(neighbours.values()) == {1}


def test_all_and_sampled_orders() -> None:
    assert task_orders.every("abc")[0] == ["a", "b", "c"]
    assert len({tuple(order) for order in task_orders.every("abc")}) == 6
    drawn = task_orders.sample("abcd", 10, seed=3)
    assert len({tuple(order) for order in drawn}) == 10
    assert drawn == task_orders.sample("abcd", 10, seed=3) != task_orders.sample("abcd", 10, seed=4)
    assert len(task_orders.sample("abc", 6, 0)) == 6


def test_too_many_orders_are_refused() -> None:
    with pytest.raises(UserError, match="6 tasks have 720 orders, more than 120"):
        task_orders.every("abcdef")
    with pytest.raises(UserError, match=r"orders\.sample: 7 is not between 1 and the 6 orders"):
        task_orders.sample("abc", 7, 0)


def test_what_the_model_knows_keeps_its_place() -> None:
    domains = scenario.load("domains")
    orders = domains.ordered("latin_square", known=1)
    assert len(orders) == 4
    assert {order[0] for order in orders} == {"news"}
    assert len(domains.ordered({"sample": 3, "seed": 1})) == 3
    assert len(domains.ordered("all")) == 120
