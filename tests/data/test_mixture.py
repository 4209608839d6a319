"""Plans and ledgers: replay in training order, nothing that was not trained on, and every row accounted for."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from cl.data.mixture import Account, Ledger, Plan
from cl.data.sampling import Reading, reading_seed, row_order
from cl.errors import UserError


def plan(shares: dict[str, float], ledger: Ledger | None = None, steps: int = 10, **sizes: int) -> Plan:
    rows = {"old": 1000, "new": 1000, "third": 1000} | sizes
    return Plan.build(shares, ledger or Ledger(), rows, batch_rows=20, steps=steps, seed=3, row_tokens=8)


def rows_of(plan: Plan, source: str) -> list[int]:
    return [row for step in range(plan.steps) for name, row in plan.batch(step) if name == source]


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
