"""Mixing: blend bounds, replay split, reading orders, and plans without leakage or added compute."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

import numpy as np
import pytest

from cl.data.mixture import Account, Ledger, Plan
from cl.data.sampling import Reading, apportion, blend, reading_seed, replay_shares, reservoir, row_order
from cl.errors import UserError

SLIMPAJAMA = [0.5209, 0.2669, 0.0522, 0.0420, 0.0443, 0.0400, 0.0337]
EIGHT = [0.05, *(round(0.95 * share, 10) for share in SLIMPAJAMA)]  # 5 % of Pile, the subsets of SlimPajama


def deviation(weights: list[float], n: int) -> float:
    """Largest |count_i - w_i * k| over all streams i and prefixes k <= n."""
    counts = np.cumsum(blend(weights, n)[:, None] == np.arange(len(weights)), axis=0)
    return float(np.abs(counts - np.arange(1, n + 1)[:, None] * np.array(weights)).max())


def plan(shares: dict[str, float], ledger: Ledger | None = None, steps: int = 10, **sizes: int) -> Plan:
    rows = {"old": 1000, "new": 1000, "third": 1000} | sizes
    return Plan.build(shares, ledger or Ledger(), rows, batch_rows=20, steps=steps, seed=3, row_tokens=8)


def rows_of(plan: Plan, source: str) -> list[int]:
    return [row for step in range(plan.steps) for name, row in plan.batch(step) if name == source]


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


def test_replay_replaces_rows_and_reads_them_in_training_order() -> None:
    first = plan({"old": 1.0})
    ledger = first.ledger_after(10)
    assert ledger.tokens == {"old": 10 * 20 * 8}
    second = plan({"new": 0.75, "replay:old": 0.25}, ledger)
    assert second.counts(10) == {"new": 150, "replay:old": 50}
    assert rows_of(second, "old") == rows_of(first, "old")[:50]
    alone = plan({"new": 1.0}, ledger)
    assert alone.steps == second.steps  # equal compute
    assert rows_of(second, "new") == rows_of(alone, "new")[:150]
    assert second.ledger_after(10).tokens == {"old": 250 * 8, "new": 150 * 8}


def test_the_next_replay_goes_on_where_the_last_one_stopped() -> None:
    first = plan({"old": 1.0})
    second = plan({"new": 0.75, "replay:old": 0.25}, first.ledger_after(10))
    third = plan({"third": 0.5, "replay:old": 0.4, "replay:new": 0.1}, second.ledger_after(10))
    trained = rows_of(first, "old")
    assert rows_of(third, "old") == trained[50:130]
    assert rows_of(third, "new") == rows_of(second, "new")[:20]


def test_replay_never_reads_what_was_not_trained_on() -> None:
    half = plan({"old": 1.0}).ledger_after(2)  # 40 of 1000 rows
    shares = {"new": 0.5, "replay:old?max_epochs=3": 0.5}
    seen = set(rows_of(plan({"old": 1.0}), "old")[:40])
    replayed = rows_of(plan(shares, half), "old")
    assert set(replayed) == seen
    assert set(Counter(replayed).values()) == {2, 3}  # 100 reads of 40 rows


@pytest.mark.parametrize("max_epochs", [1, 2.49])
def test_too_much_replay_is_refused(max_epochs: float) -> None:
    half = plan({"old": 1.0}).ledger_after(2)
    with pytest.raises(UserError, match=r"replay share: 0.5 .* 100 rows of 'old', of which only 40 .*lower share"):
        plan({"new": 0.5, f"replay:old?max_epochs={max_epochs}": 0.5}, half)


def test_replay_of_an_unseen_source_is_refused() -> None:
    with pytest.raises(UserError, match="only 0 were trained on"):
        plan({"new": 0.5, "replay:old": 0.5})


def test_reshuffled_replay_is_another_order_of_the_same_rows_without_duplicates() -> None:
    ledger = plan({"old": 1.0}).ledger_after(10)
    offset = Ledger({"old": Account(**{**vars(ledger.accounts["old"]), "replayed": 150})})
    order = rows_of(plan({"new": 0.5, "replay:old?reshuffle=1": 0.5}, offset), "old")
    assert len(set(order)) == len(order) == 100
    assert set(order) <= set(rows_of(plan({"old": 1.0}), "old"))
    assert order != rows_of(plan({"new": 0.5, "replay:old": 0.5}, offset), "old")


def test_new_data_goes_on_over_epochs_and_says_so() -> None:
    twice = plan({"old": 1.0}, old=80)
    rows = rows_of(twice, "old")
    assert [sorted(rows[:80]), sorted(rows[80:160])] == [list(range(80))] * 2
    assert twice.epochs() == {"old": 2.5}
    assert twice.warnings() == ["old: rows are read 2.50 times in this stage"]
    again = plan({"old": 1.0}, twice.ledger_after(4), old=80)
    assert rows_of(again, "old")[:80] == rows[80:160]
    assert twice.ledger_after(10).accounts["old"].available == 80


def test_a_plan_starts_anywhere_and_splits_over_ranks() -> None:
    ledger = plan({"old": 1.0}).ledger_after(10)
    shares = {"new": 0.9, "replay:old": 0.1}
    whole, again = plan(shares, ledger), plan(shares, ledger)
    assert [whole.batch(step) for step in range(4, 10)] == [again.batch(step) for step in range(4, 10)]
    parts = [whole.batch(4, rank, 4) for rank in range(4)]
    assert [pair for four in zip(*parts, strict=True) for pair in four] == whole.batch(4)
    with pytest.raises(UserError, match="20 do not divide by 3"):
        whole.batch(4, 0, 3)
    with pytest.raises(IndexError):
        whole.batch(10)


def test_counts_and_ledgers_agree_at_every_step() -> None:
    ledger = plan({"old": 1.0}).ledger_after(10)
    mixed = plan({"new": 0.9, "replay:old": 0.1}, ledger)
    for step in range(11):
        counts = mixed.counts(step)
        after = mixed.ledger_after(step).accounts
        assert sum(counts.values()) == 20 * step
        assert (after["new"].trained, after["old"].replayed) == (counts["new"], counts["replay:old"])
        assert after["old"].trained == 200


def test_a_known_source_is_a_proxy_and_says_so() -> None:
    ledger = Ledger().known("old", rows=1000, seed=3, tokens=10**6)
    mixed = plan({"new": 0.5, "replay:old": 0.5}, ledger)
    assert rows_of(mixed, "old") == row_order(1000, reading_seed(3, "old"), np.arange(100)).tolist()
    assert mixed.warnings() == ["replay of old: a proxy of what the pretrained model saw"]
    assert mixed.ledger_after(10).tokens["old"] == 10**6 + 800


def test_ledger_goes_to_json_and_back() -> None:
    ledger = plan({"old": 1.0}).ledger_after(10).known("web", rows=5, seed=1, tokens=77)
    assert Ledger.from_json(ledger.to_json()) == ledger


@pytest.mark.parametrize(("size", "message"), [(0, "no training rows"), (999, "has 999 rows but the ledger 1000")])
def test_empty_or_changed_source_is_refused(size: int, message: str) -> None:
    ledger = plan({"old": 1.0}).ledger_after(10) if size else Ledger()
    with pytest.raises(UserError, match=message):
        plan({"old": 1.0}, ledger, old=size)


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


def test_a_buffer_is_read_in_turn_and_holds_only_what_was_trained_on() -> None:
    account = Account(rows=50, seed=1, trained=30)
    reading = Reading("old", replay=True, buffer=6)
    found = account.read(reading, np.arange(15))
    assert len(set(found.tolist())) == 6
    assert found[:6].tolist() == found[6:12].tolist()
    assert set(found.tolist()) <= set(account.trained_rows().tolist())
    assert account.open_to(reading) == 6


def test_a_buffer_may_be_read_more_than_once_but_not_when_it_is_empty() -> None:
    shares = {"new": 0.5, "replay:old?buffer=2": 0.5}
    ledger = Ledger({"old": Account(rows=50, seed=1, trained=30, tokens=1)})
    plan = Plan.build(shares, ledger, {"new": 100, "old": 50}, batch_rows=4, steps=10, seed=0, row_tokens=8)
    replayed = {row for step in range(10) for source, row in plan.batch(step) if source == "old"}
    assert len(replayed) == 2
    empty = Ledger({"old": Account(rows=50, seed=1)})
    with pytest.raises(UserError, match="only 0 were trained on"):
        Plan.build(shares, empty, {"new": 100, "old": 50}, batch_rows=4, steps=10, seed=0, row_tokens=8)
