"""A trial in its own process: what it tells while it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.tuning import trial_process
from tests.support.tuning import said, toy


@pytest.mark.slow
def test_a_stored_trial_tells_the_pruner_the_same(tmp_path: Path) -> None:
    folder = toy(tmp_path, {"protocol": "oracle"}, evaluation={"points": 20, "share": 0.9, "probe_tokens": 64})
    cold, warm = said(folder), said(folder)
    assert [line for line in cold if "executed" not in line] == [line for line in warm if "executed" not in line]
    assert [line["executed"] for line in (*cold, *warm) if "executed" in line] == [0, 1, 2, 0, 0, 0]
    inside = [line["step"] for line in cold if "step" in line and line["step"] % trial_process.STAGE]
    assert inside
    assert all(step % (trial_process.STAGE // trial_process.EVALUATIONS) == 0 for step in inside)
