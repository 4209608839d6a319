"""What an estimator answers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.order_command import STEPS, run, toy


@pytest.mark.slow
def test_positions_and_orders_of_tasks(tmp_path: Path) -> None:
    folder = toy(tmp_path)
    moved = run(folder, "position", "--order.samples=[0, 5]")
    assert np.shape(moved["memorisation"]) == np.shape(moved["generalisation"]) == (2, 2 * STEPS)
    assert len(moved["position_weights"]) == 2 * STEPS
    found = run(folder, "tasks")["task_orders"]
    assert [row["tasks"] for row in found] == [["english", "german"], ["german", "english"]]
    assert all(len(row["matrix"]) == 2 for row in found)
    # what was learned last is known better than where it was learned first
    assert found[0]["matrix"][-1]["german"] < found[1]["matrix"][-1]["german"]
