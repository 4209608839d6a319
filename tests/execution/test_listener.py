"""Listeners: what is told of a computation, here and from another process."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from cl.execution import listener
from cl.metrics.records import Point
from tests.support.nodes import node
from tests.support.training import execute, plan, write_toy


def test_a_listener_s_points_are_what_the_node_stores(tmp_path: Path) -> None:
    folder = write_toy(tmp_path)
    graph, store = plan(folder)
    node = graph.runs[0].stages[0].node
    heard = execute(folder, node, store)
    assert [vars(point) for _, point in heard.points] == store.result(node)["points"]


class Ears:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def __getattr__(self, event: str) -> Any:
        return lambda node, *what: self.heard.append((event, node.name, *what))


def test_a_listener_hears_what_was_told_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    of, said, ears = node("base", "b"), list[dict[str, Any]](), Ears()
    teller = listener.Teller(lambda line: said.append(json.loads(json.dumps(line))))
    point = Point(step=1, tokens=2, seconds=3.0, loss=0.5, scores={"a": 1.0})
    teller.waiting(of)
    teller.found(of)
    teller.started(of)
    teller.point(of, point)
    teller.finished(of, 2.5)
    for line in said:
        listener.hear(line, {of.key: of}, ears)
    assert ears.heard == [
        ("waiting", "b"),
        ("found", "b"),
        ("started", "b"),
        ("point", "b", point),
        ("finished", "b", 2.5),
    ]


def test_progress_is_told_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    of, said = node("base", "b"), list[Any]()
    teller = listener.Teller(lambda line: said.append(line["what"]))
    for done in range(1, 9):
        now[0] += 0.2
        teller.progress(of, done, 8)
    assert said == [[1, 8], [4, 8], [7, 8], [8, 8]]
