"""Sampling: blend bounds, the split of replay, reading orders, and buffers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from cl.data.sampling import Reading, apportion, blend, reading_seed, replay_shares, reservoir, row_order
from cl.errors import UserError

SLIMPAJAMA = [0.5209, 0.2669, 0.0522, 0.0420, 0.0443, 0.0400, 0.0337]
EIGHT = [0.05, *(round(0.95 * share, 10) for share in SLIMPAJAMA)]  # 5 % of Pile, the subsets of SlimPajama


def deviation(weights: list[float], n: int) -> float:
    """Largest |count_i - w_i * k| over all streams i and prefixes k <= n."""
    counts = np.cumsum(blend(weights, n)[:, None] == np.arange(len(weights)), axis=0)
    return float(np.abs(counts - np.arange(1, n + 1)[:, None] * np.array(weights)).max())


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ([1.0], [0, 0, 0, 0]),
        ([0.5, 0.5], [0, 1, 0, 1]),  # a tie goes to the lowest stream
        ([0.25, 0.75], [1, 0, 1, 1]),  # k=1: .25 > -.25; k=2: -.5 < .5; k=3: -.25 < .25
        ([0.75, 0.0, 0.25], [0, 2, 0, 0]),
    ],
)
def test_blend_by_hand(weights: list[float], expected: list[int]) -> None:
    assert blend(weights, 4).tolist() == expected


@pytest.mark.parametrize(
    ("weights", "bound"),
    [([0.995, 0.005], 0.991), ([0.75, 0.25], 0.5), ([0.95, 0.05], 1.0), ([0.5, 0.5], 0.5), (EIGHT, 1.31)],
)
def test_every_prefix_keeps_the_shares(weights: list[float], bound: float) -> None:
    assert deviation(weights, 60_000) <= bound + 1e-9


@pytest.mark.parametrize(("share", "least", "most"), [(0.005, 5, 6), (0.25, 276, 276), (0.05, 55, 56)])
def test_replay_rows_per_batch_of_1104(share: float, least: int, most: int) -> None:
    counts = blend([1 - share, share], 1104 * 60).reshape(60, 1104).sum(axis=1)
    assert (counts.min(), counts.max()) == (least, most)


def test_blend_is_the_greedy_rule_in_exact_arithmetic() -> None:
    weights = [0.7, 0.2, 0.1]
    counts, expected = [0, 0, 0], []
    for k in range(500):
        due = [Fraction(str(w)) * max(k, 1) - count for w, count in zip(weights, counts, strict=True)]
        counts[due.index(max(due))] += 1
        expected.append(due.index(max(due)))
    assert blend(weights, 500).tolist() == expected


@pytest.mark.parametrize("weights", [[0.5, 0.4], [1.2, -0.2], []])
def test_blend_refuses_what_is_no_mixture(weights: list[float]) -> None:
    with pytest.raises(UserError, match="must sum to 1"):
        blend(weights, 3)


def test_replay_split_of_three_and_four_sources() -> None:
    billion = 10**9
    assert replay_shares({"pile": 300 * billion}, 0.05) == {"pile": 0.05}
    consumed = {"pile": 305 * billion, "sp1": 95 * billion}  # stage SP1: 5 of its 100 were Pile
    second = replay_shares(consumed, 5)
    assert second == pytest.approx({"pile": 3.8125, "sp1": 1.1875}, rel=1e-9)
    consumed = {name: tokens + int(second[name] * billion) for name, tokens in consumed.items()}
    third = replay_shares({**consumed, "sp2": 95 * billion}, 5)
    assert third == pytest.approx({"pile": 3.088125, "sp1": 0.961875, "sp2": 0.95}, rel=1e-9)


def test_replay_of_nothing_is_refused() -> None:
    with pytest.raises(UserError, match="nothing was trained"):
        replay_shares({}, 0.05)


def test_each_epoch_is_another_permutation() -> None:
    order = row_order(50, 7, np.arange(150)).reshape(3, 50)
    assert all(sorted(epoch) == list(range(50)) for epoch in order.tolist())
    assert len({tuple(epoch) for epoch in order.tolist()}) == 3
    assert row_order(50, 7, [149, 3]).tolist() == [order[2, 49], order[0, 3]]
    assert row_order(50, 8, np.arange(50)).tolist() != order[0].tolist()
    assert reading_seed(7, "old") != reading_seed(7, "new")


def test_reading_order_is_pinned() -> None:
    assert row_order(8, 1234, np.arange(8)).tolist() == [1, 6, 2, 0, 3, 5, 7, 4]


@pytest.mark.parametrize(
    ("reading", "key"),
    [
        (Reading("old"), "old"),
        (Reading("old", replay=True), "replay:old"),
        (Reading("old", replay=True, max_epochs=2.0), "replay:old?max_epochs=2"),
        (Reading("old", replay=True, max_epochs=2.5, reshuffle=7), "replay:old?max_epochs=2.5&reshuffle=7"),
        (Reading("old", replay=True, buffer=200), "replay:old?buffer=200"),
    ],
)
def test_share_keys_round_trip(reading: Reading, key: str) -> None:
    assert str(reading) == key
    assert Reading.parse(key) == reading


def test_unknown_reading_option() -> None:
    with pytest.raises(UserError, match="epochs"):
        Reading.parse("replay:old?epochs=2")


def test_apportioning_by_hand() -> None:
    # 10 of 5 + 3 + 3: 4.54.., 2.72.., 2.72..: the two larger remainders get what is left
    assert apportion(10, {"a": 5, "b": 3, "c": 3}) == {"a": 4, "b": 3, "c": 3}
    assert apportion(20, {"a": 5, "b": 3}) == {"a": 5, "b": 3}
    assert apportion(1, {"a": 0, "b": 4}) == {"a": 0, "b": 1}


def test_a_buffer_shrinks_and_grows_without_bringing_anything_back() -> None:
    kept = set(reservoir(100, 20, seed=3).tolist())
    assert len(kept) == 20
    assert set(reservoir(100, 10, seed=3).tolist()) < kept
    later = set(reservoir(150, 20, seed=3).tolist())
    assert {item for item in later if item < 100} < kept
    assert set(reservoir(5, 20, seed=3).tolist()) == set(range(5))


def test_a_buffer_is_a_uniform_choice() -> None:
    counts = np.bincount(np.concatenate([reservoir(20, 5, seed) for seed in range(2000)]), minlength=20)
    assert abs(counts - 500).max() < 5 * np.sqrt(2000 * 0.25 * 0.75)  # five standard deviations
