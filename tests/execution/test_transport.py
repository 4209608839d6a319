"""Nodes that travel: the same keys on the other side, or a refusal that says why."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from cl.config import loading
from cl.errors import UserError
from cl.execution import transport
from cl.graph import planner
from cl.graph.node import Node
from cl.graph.roles import STATE
from cl.graph.specs import BaseSpec


@pytest.fixture
def last(toy: Path) -> Node:
    """The last row of R of a run whose methods, data and base model all stand in its ancestors."""
    with contextlib.chdir(toy):
        planned = planner.build(loading.load("toy.yaml", ["--strategies={rewarm_replay: }"]))
    return planned.runs[0].rows[2]


def sent(node: Node) -> dict[str, Any]:
    """A message that went through JSON."""
    found: dict[str, Any] = json.loads(json.dumps(transport.pack([node])))
    return found


def test_a_node_arrives_with_its_key_its_needs_and_all_that_it_stands_on(last: Node) -> None:
    (found,) = transport.unpack(sent(last))
    assert found.key == last.key
    assert found.parents[STATE].needs == last.parents[STATE].needs
    train = found.parents[STATE]
    assert {role: parent.key for role, parent in train.parents.items()} == {
        role: parent.key for role, parent in last.parents[STATE].parents.items()
    }
    assert set(train.uses) == set(last.parents[STATE].uses) == {"english", "german"}
    assert train.local is not None
    assert train.local == last.parents[STATE].local


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
    base = Node("b", BaseSpec({}, None, 32))
    with contextlib.chdir(tmp_path):
        data = transport.pack([base])
    monkeypatch.setenv("CL_CODE_VERSION", "")
    with contextlib.chdir("/"):
        (found,) = transport.unpack(data)
        assert Path.cwd() == tmp_path
    assert found.identity["code"] == "override:mine"
