"""What a graph will cost, where nothing was measured yet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl.execution import cost_estimate
from cl.execution.store import Store
from tests.support.graph import planned
from tests.support.instruction import write_stream
from tests.support.training import execute, plan, write_toy


def test_seconds_by_hand_where_nothing_is_measured(toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_estimate, "_guessed", lambda *_: 512.0)  # tokens per second
    graph = planned()
    train, row = graph.runs[0].stages[0].node, graph.runs[0].rows[1]
    found = cost_estimate.estimate(graph, [train, row], Store("store"))
    assert not found.measured
    assert found.seconds[train.key] == pytest.approx(1.0 + 1024 / 512 * 1.5)  # half as long again for looks
    assert found.seconds[row.key] == pytest.approx(0.5 + row.cost / (3 * 512))
    assert found.total == pytest.approx(sum(found.seconds.values()) + 10.0)  # nothing is compiled


def test_nothing_to_compute_costs_nothing(toy: Path) -> None:
    assert cost_estimate.estimate(planned(), [], Store("store")).total == 0.0


def test_answers_of_a_row_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cost_estimate, "_guessed", lambda *_: 512.0)
    graph, store = plan(write_stream(tmp_path))
    row = graph.runs[0].rows[1]
    spec: Any = row.spec
    assert spec.items
    found = cost_estimate.estimate(graph, [row], store)
    answers = spec.items * len(spec.sets) * cost_estimate.ANSWER * cost_estimate.GENERATED
    assert found.seconds[row.key] == pytest.approx(0.5 + (row.cost + answers) / (3 * 512))


@pytest.mark.slow
def test_a_row_takes_as_long_as_the_newest_stored_row_like_it(tmp_path: Path) -> None:
    graph, store = plan(write_toy(tmp_path))
    rows = [row for _, row in sorted(graph.runs[0].rows.items())]
    execute(tmp_path, rows[0], store)
    found = cost_estimate.estimate(graph, rows[1:], store)
    assert {found.seconds[row.key] for row in rows[1:]} == {store.result(rows[0])["seconds_in_all"]}
    graph, _ = plan(tmp_path, "--evaluation.tokens=256")
    row = graph.runs[0].rows[1]
    assert cost_estimate.estimate(graph, [row], store).seconds[row.key] != store.result(rows[0])["seconds_in_all"]
