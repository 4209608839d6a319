"""What a graph will cost, where nothing was measured yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.execution import cost_estimate
from cl.execution.store import Store
from tests.support.graph import planned


def test_seconds_by_hand_where_nothing_is_measured(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_estimate, "_calibrated", lambda *_: 512.0)  # tokens per second
    graph = planned()
    train, row = graph.runs[0].stages[0].node, graph.runs[0].rows[1]
    found = cost_estimate.estimate(graph, [train, row], Store("store"))
    assert not found.measured
    assert found.seconds[train.key] == pytest.approx(1.0 + 1024 / 512 * 1.5)  # half as long again for looks
    assert found.seconds[row.key] == pytest.approx(0.5 + row.cost / (3 * 512))
    assert found.total == pytest.approx(sum(found.seconds.values()) + 10.0)  # nothing is compiled


def test_nothing_to_compute_costs_nothing(toy: Path) -> None:
    assert cost_estimate.estimate(planned(), [], Store("store")).total == 0.0
