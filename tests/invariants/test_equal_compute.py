"""Equal compute: what is replayed or mixed in replaces tokens, and never adds any."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.data.mixture import Ledger, Plan
from tests.support.mixture import mixed
from tests.support.training import run


@pytest.mark.slow
def test_shares_are_exact_in_every_prefix_and_nothing_is_added(tmp_path: Path) -> None:
    found = run(mixed(tmp_path))
    for stage in found["runs"][0]["stages"]:
        tokens = stage["points"][-1]["seen"]
        assert set(tokens) == {stage["name"], "plain:chat", "plain:liked"}
        assert tokens[stage["name"]] == 64 * 12
        assert tokens["plain:chat"] == tokens["plain:liked"] == 64 * 6
    assert set(found["runs"][0]["matrix"]["1"]) == {"english", "german", "chat"}  # preferences are not measured
    assert found["runs"][0]["matrix"]["1"]["chat"]["scores"].keys() == {"strict", "normalised", "format_ok"}


def plan(shares: dict[str, float], ledger: Ledger | None = None, steps: int = 10, **sizes: int) -> Plan:
    rows = {"old": 1000, "new": 1000, "third": 1000} | sizes
    return Plan.build(shares, ledger or Ledger(), rows, batch_rows=20, steps=steps, seed=3, row_tokens=8)


def rows_of(plan: Plan, source: str) -> list[int]:
    return [row for step in range(plan.steps) for name, row in plan.batch(step) if name == source]


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
