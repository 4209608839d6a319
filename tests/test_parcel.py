"""Nodes that travel: the same keys on the other side, or a refusal that says why."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from cl.config import loading
from cl.errors import UserError
from cl.execution import listener, transport
from cl.graph import planner
from cl.graph.node import Node
from cl.metrics.records import Point


@pytest.fixture
def last(toy: Path) -> Node:
    """The last row of R of a run whose methods, data and base model all stand in its ancestors."""
    with contextlib.chdir(toy):
        planned = planner.build(loading.load("toy.yaml", ["--strategies={rewarm_replay: }"]))
    return planned.runs[0].rows[2]


def sent(node: Node) -> dict[str, Any]:
    """A parcel that went through JSON."""
    found: dict[str, Any] = json.loads(json.dumps(transport.pack([node])))
    return found


def test_a_node_arrives_with_its_key_its_needs_and_all_that_it_stands_on(last: Node) -> None:
    (found,) = transport.unpack(sent(last))
    assert found.key == last.key
    assert found.parents["state"].needs == last.parents["state"].needs
    train = found.parents["state"]
    assert {role: parent.key for role, parent in train.parents.items()} == {
        role: parent.key for role, parent in last.parents["state"].parents.items()
    }
    assert set(train.uses) == set(last.parents["state"].uses) == {"english", "german"}
    assert train.local == json.loads(json.dumps(last.parents["state"].local))


def test_each_node_is_sent_once(last: Node) -> None:
    keys = [row["key"] for row in sent(last)["rows"]]
    assert len(keys) == len(set(keys))


def test_another_version_on_the_other_side_is_refused(last: Node) -> None:
    data = sent(last)
    row = next(row for row in data["rows"] if row["kind"] == "base")
    row["made_by"]["libraries"]["torch"], row["key"] = "1.0", "0" * 20
    with pytest.raises(UserError, match=r"base llama-tiny: \S+ has torch \S+ in place of 1.0; install the same there"):
        transport.unpack(data)


def test_another_specification_is_refused(last: Node) -> None:
    data = sent(last)
    data["rows"][-1]["spec"]["tokens"] += 1
    with pytest.raises(UserError, match=r"evaluate row 2 after german: .* has another specification"):
        transport.unpack(data)


def test_the_senders_folder_and_code_version_are_taken_over(
    last: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CL_CODE_VERSION", "mine")
    base = Node("base", "b", {"name": "b"})
    with contextlib.chdir(tmp_path):
        data = transport.pack([base])
    monkeypatch.setenv("CL_CODE_VERSION", "")
    with contextlib.chdir("/"):
        (found,) = transport.unpack(data)
        assert Path.cwd() == tmp_path
    assert found.identity["code"] == "override:mine"


class Ears:
    def __init__(self) -> None:
        self.heard: list[Any] = []

    def __getattr__(self, event: str) -> Any:
        return lambda node, *what: self.heard.append((event, node.name, *what))


def test_a_listener_hears_what_was_told_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    node, said, ears = Node("base", "b", {}), list[dict[str, Any]](), Ears()
    teller = listener.Teller(lambda line: said.append(json.loads(json.dumps(line))))
    point = Point(step=1, tokens=2, seconds=3.0, loss=0.5, scores={"a": 1.0})
    teller.waiting(node)
    teller.found(node)
    teller.started(node)
    teller.point(node, point)
    teller.finished(node, 2.5)
    for line in said:
        listener.hear(line, {node.key: node}, ears)
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
    node, said = Node("base", "b", {}), list[Any]()
    teller = listener.Teller(lambda line: said.append(line["what"]))
    for done in range(1, 9):
        now[0] += 0.2
        teller.progress(node, done, 8)
    assert said == [[1, 8], [4, 8], [7, 8], [8, 8]]
