"""Why a node is missing: the parts of its identity that differ from the nearest stored node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl.execution.differences import Difference, code_differences, explain
from cl.execution.store import Store
from cl.graph import node as nodes
from cl.graph.node import Node
from tests.support.nodes import node


def stored(store: Store, found: Node) -> Node:
    with store.work(found) as work:
        assert work is not None
        store.publish(found, work, {"seconds_in_all": 1.0})
    return found


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("CL_CODE_VERSION", "one")
    return Store(tmp_path / "store")


def one(missing: Node, store: Store) -> Any:
    (found,) = explain([missing], store)
    return found


def test_the_settings_that_differ_are_named_with_both_values(store: Store) -> None:
    stored(store, node("train", "german", {"lr": 0.1, "batch": 8}))
    found = one(node("train", "german", {"lr": 0.2, "batch": 8}), store)
    assert found.differences == (Difference("setting", "values.lr", "0.1", "0.2"),)


def test_the_nearest_node_is_the_one_with_the_fewest_differences(store: Store) -> None:
    far = stored(store, node("train", "german", {"lr": 0.1, "batch": 8, "seed": 1}))
    near = stored(store, node("train", "english", {"lr": 0.2, "batch": 4, "seed": 0}))
    stored(store, node("base", "german", {"lr": 0.2, "batch": 8, "seed": 0}))  # of another kind
    found = one(node("train", "german", {"lr": 0.2, "batch": 8, "seed": 0}), store)
    assert (found.nearest, found.name) == (near.key, "english") != (far.key, "german")


def test_of_equally_near_nodes_one_of_the_same_name_is_meant(store: Store) -> None:
    same = stored(store, node("train", "german", {"lr": 0.1}))
    stored(store, node("train", "english", {"lr": 0.3}))
    assert one(node("train", "german", {"lr": 0.2}), store).nearest == same.key


def test_a_parent_is_named_by_its_role(store: Store) -> None:
    before, now = node("base", "before"), node("base", "now", {"seed": 1})
    stored(store, node("train", "german", {}, {"state": before}))
    (difference,) = one(node("train", "german", {}, {"state": now}), store).differences
    assert difference == Difference("parent", "state", before.key[:8], f"{now.key[:8]} (now)")


def test_a_library_is_named_with_its_versions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(store, node("base", "b"))
    monkeypatch.setattr(nodes, "_versions", lambda packages: dict.fromkeys(packages, "9.9"))
    found = one(node("base", "b"), store).differences
    assert {(difference.part, difference.name, difference.wanted) for difference in found} == {
        ("library", name, "9.9") for name in ("gguf", "torch", "transformers")
    }


def test_without_a_node_of_the_kind_nothing_is_near(store: Store) -> None:
    stored(store, node("base", "b"))
    found = one(node("train", "german"), store)
    assert (found.nearest, found.differences) == (None, ())


def test_an_override_is_compared_as_it_stands(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(store, node("base", "b"))
    monkeypatch.setenv("CL_CODE_VERSION", "two")
    assert one(node("base", "b"), store).differences == (Difference("code", "version", "override:one", "override:two"),)


def test_definitions_are_named_where_they_were_recorded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CL_CODE_VERSION")
    found = stored(store, node("base", "b"))
    code = str(found.identity["code"])
    recorded = store.definitions(code)
    assert recorded is not None
    recorded["cl.steps.base:run"] = "another"
    recorded["cl.steps.base:gone"] = "x"
    del recorded["cl.models.pretrained:create"]
    monkeypatch.setattr(store, "definitions", lambda version: recorded)
    assert set(code_differences("other", found, store)) == {
        Difference("code", "cl.steps.base:run", "as stored", "edited"),
        Difference("code", "cl.steps.base:gone", "removed", "–"),
        Difference("code", "cl.models.pretrained:create", "–", "added"),
    }
