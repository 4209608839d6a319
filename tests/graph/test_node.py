from __future__ import annotations

import json

import pytest

from cl.graph import code_version as sources
from cl.graph import node
from cl.graph.node import Node, ancestors, code_version
from cl.hashing import digest


@pytest.fixture(autouse=True)
def fixed_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_CODE_VERSION", "test")


def base(**spec: object) -> Node:
    return Node("base", "base", spec or {"seed": 0})


@pytest.mark.parametrize(
    "other",
    [
        Node("base", "base", {"seed": 1}),
        Node("data", "base", {"seed": 0}),
        Node("base", "base", {"seed": 0}, {"tokenizer": base()}),
    ],
    ids=["spec", "kind", "parents"],
)
def test_what_changes_the_result_changes_the_key(other: Node) -> None:
    assert other.key != base(seed=0).key


@pytest.mark.parametrize(
    "other",
    [
        Node("base", "another name", {"seed": 0}),
        Node("base", "base", {"seed": 0}, cost=7),
        Node("base", "base", {"seed": 0}, needs=frozenset({"optimizer.safetensors"})),
        Node("base", "base", {"seed": 0}, uses={"data": base()}),
        Node("base", "base", {"seed": 0}, local={"checkpoints": 3}),
    ],
    ids=["name", "cost", "needs", "uses", "local"],
)
def test_what_cannot_change_the_result_does_not_change_the_key(other: Node) -> None:
    assert other.key == base(seed=0).key


def test_a_parent_is_known_by_its_role() -> None:
    first, second = base(seed=1), base(seed=2)
    swapped = Node("train", "t", {}, {"state": second, "tokenizer": first})
    assert Node("train", "t", {}, {"state": first, "tokenizer": second}).key != swapped.key


def test_identity_goes_to_json_and_explains_the_key() -> None:
    found = Node("train", "t", {"lr": 0.1}, {"state": base()})
    assert digest(json.loads(json.dumps(found.identity))) == found.key
    assert set(found.identity["libraries"]) == {"peft", "torch", "transformers", "pytorch-lightning"}
    assert found.identity["code"] == "override:test"


def test_a_release_stands_for_its_code_but_not_for_the_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CL_CODE_VERSION")
    monkeypatch.setattr(sources, "is_checkout", lambda: False)
    monkeypatch.setattr(sources, "fingerprint", lambda modules: "hash of " + " ".join(modules))
    monkeypatch.setattr(node, "_version", lambda package: "1.2.3")
    assert code_version(("cl.steps.train", "strategies.replay")) == "release:1.2.3"
    assert code_version(("cl.steps.train", "my_methods")) == "release:1.2.3+hash of my_methods"


def test_ancestors_come_before_their_children_and_once() -> None:
    root, looked_at = base(), Node("data", "looked at", {})
    left = Node("train", "left", {"lr": 1}, {"state": root}, uses={"data": looked_at})
    right = Node("train", "right", {"lr": 2}, {"state": Node("base", "twin", {"seed": 0})})
    assert [n.name for n in ancestors([left, right])] == ["base", "looked at", "left", "right"]


def test_of_equal_nodes_the_one_whose_children_need_most_is_an_ancestor() -> None:
    poor, rich = base(), Node("base", "rich", {"seed": 0}, needs=frozenset({"optimizer.safetensors"}))
    children = [Node("train", str(i), {"i": i}, {"state": state}) for i, state in enumerate((poor, rich, base()))]
    assert [n.name for n in ancestors(children)] == ["rich", "0", "1", "2"]
