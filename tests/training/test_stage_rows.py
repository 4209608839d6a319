"""The ledger that a stage starts from and the one that it leaves."""

from __future__ import annotations

from pathlib import Path

from cl.data.mixture import Ledger
from tests.support.training import (
    BATCH,
    SEQUENCE,
    STEPS,
    run,
    stage_results,
    write_toy,
)


def test_ledgers_add_up(tmp_path: Path) -> None:
    folder = write_toy(tmp_path, strategies={"rewarm_replay_25": None})
    run(folder)
    first, second = stage_results(folder, "rewarm_replay_25")
    whole = BATCH * SEQUENCE * STEPS
    before, after = Ledger.from_json(first["ledger"]), Ledger.from_json(second["ledger"])
    assert before.tokens == {"english": whole}
    assert after.tokens == {"english": whole + whole // 4, "german": whole - whole // 4}
    assert (before.accounts["english"].trained, before.accounts["english"].replayed) == (BATCH * STEPS, 0)
    assert (after.accounts["english"].trained, after.accounts["english"].replayed) == (BATCH * STEPS, STEPS)
    assert after.accounts["german"].trained == 3 * STEPS
    started = Ledger.from_json(second["ledger_before"])
    assert started.accounts["english"] == before.accounts["english"]
    assert started.tokens["german"] == 0
    for stage in (first, second):
        assert sum(stage["seen"].values()) == stage["tokens"] == whole
        assert stage["points"][-1]["tokens"] == whole
        assert stage["steps"] == STEPS
