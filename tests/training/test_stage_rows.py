"""The ledger that a stage starts from and the one that it leaves; rows in place of the plan's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from cl.data.mixture import Ledger, Plan
from cl.data.rows import PackedRows, Row
from cl.methods.contexts import Replaced
from cl.training import distributed
from cl.training.stage_rows import Batches
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


def test_processes_share_the_replaced_rows_by_their_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan.build({"a": 1.0}, Ledger(), {"a": 12}, batch_rows=4, steps=3, seed=0, row_tokens=4)
    sources = {"a": PackedRows(np.arange(100, 149, dtype=np.int32), 4)}
    places = [(1, 3), (2, 0), (2, 1)]
    replaced = [Replaced(*place, Row(torch.full((5,), at), None), {}) for at, place in enumerate(places)]
    plain, whole = (torch.stack([batches[step].ids for step in range(3)]) for batches in (
        Batches(plan, sources, 0), Batches(plan, sources, 0, replaced)
    ))  # fmt: skip
    assert [tuple(place) for place in (plain != whole).any(2).nonzero().tolist()] == places
    assert [whole[place].tolist() for place in places] == [[at] * 5 for at in range(3)]
    monkeypatch.setattr(distributed, "world", lambda: 2)
    for rank in (0, 1):
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        part = Batches(plan, sources, 0, replaced)
        assert torch.equal(torch.stack([part[step].ids for step in range(3)]), whole[:, rank::2])
