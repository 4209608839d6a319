"""Search, positions and orders of tasks as pure functions; agreement and rivals by hand."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Sequence

import numpy as np
import pytest

from cl.errors import UserError
from cl.sample_order import agreement, baselines, positions, references, searching, task_blocks

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


def test_a_batch_moves_and_the_others_keep_their_order() -> None:
    assert positions.moved(4, 1, 0) == [(1, 0, 2, 3)]
    assert positions.moved(4, 1, 3) == [(0, 2, 3, 1)]
    drawn = [positions.moved(5, 2, at, "random", 3, seed=4) for at in range(5)]
    assert all(order[at] == 2 for at, orders in enumerate(drawn) for order in orders)
    others = [[tuple(item for item in order if item != 2) for order in orders] for orders in drawn]
    assert all(each == others[0] for each in others)  # the same draws at every position
    assert positions.means([1.0, 3.0, 5.0, 7.0], 2) == [2.0, 6.0]
    with pytest.raises(UserError, match=r"order\.samples: 9 is no batch"):
        positions.moved(4, 9, 0)


def test_orders_of_tasks_keep_their_batches_together() -> None:
    assert task_blocks.order_of([1, 0, 2], [2, 2, 2]) == (2, 3, 0, 1, 4, 5)
    assert task_blocks.boundaries([2, 2, 2]) == [2, 4, 6]
    with pytest.raises(UserError, match=r"tasks of \[2, 3\] batches"):
        task_blocks.order_of([1, 0], [2, 3])


def test_references_are_given_reversed_and_new() -> None:
    found = references.orders(5, 4, seed=0)
    assert found[:2] == [(0, 1, 2, 3, 4), (4, 3, 2, 1, 0)]
    assert len(set(found)) == 4
    assert references.orders(5, 1, seed=0) == found[:1]
    assert not set(references.drawn(5, 20, 1, found)) & set(found)
    assert len(references.drawn(2, 5, 0)) == 5  # there are only two: they repeat


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
