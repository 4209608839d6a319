"""A node's key: what is in it and what is not, and the ancestors of nodes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cl.config.model import Model
from cl.graph import node as nodes
from cl.graph.kinds import KINDS
from cl.graph.node import Node, ancestors
from cl.graph.roles import STATE, TOKENIZER
from cl.graph.specs import BaseSpec, Local
from cl.hashing import digest
from tests.support.nodes import node


@pytest.fixture(autouse=True)
def fixed_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_CODE_VERSION", "test")


def base(name: str = "base", seed: int = 0, **more: Any) -> Node:
    return node("base", name, {"seed": seed}, **more)


@pytest.mark.parametrize(
    "other",
    [base(seed=1), node("data", "base", {"seed": 0}), base(parents={"tokenizer": base()})],
    ids=["spec", "kind", "parents"],
)
def test_what_changes_the_result_changes_the_key(other: Node) -> None:
    assert other.key != base().key


@pytest.mark.parametrize(
    "other",
    [
        base("another name"),
        base(cost=7),
        base(needs=frozenset({"optimizer.safetensors"})),
        base(uses={"data": base()}),
        base(local=Local("scenario", Model(name="llama-tiny"))),
    ],
    ids=["name", "cost", "needs", "uses", "local"],
)
def test_what_cannot_change_the_result_does_not_change_the_key(other: Node) -> None:
    assert other.key == base().key


def test_a_parent_is_known_by_its_role() -> None:
    first, second = base(seed=1), base(seed=2)
    swapped = node("train", "t", {}, {"state": second, "tokenizer": first})
    assert node("train", "t", {}, {"state": first, "tokenizer": second}).key != swapped.key
    assert swapped.parents == {STATE: second, TOKENIZER: first}


def test_identity_goes_to_json_and_explains_the_key() -> None:
    found = node("train", "t", {"lr": 0.1}, {"state": base()})
    assert digest(json.loads(json.dumps(found.identity))) == found.key
    assert set(found.identity["libraries"]) == {"peft", "torch", "transformers", "pytorch-lightning"}
    assert found.identity["parents"] == {"state": base().key}
    assert found.identity["code"] == "override:test"


def test_code_starts_from_the_step_and_from_what_it_builds_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[tuple[str, ...], str]] = []

    def code_version(entries: tuple[str, ...], released: str) -> str:
        asked.append((entries, released))
        return "a hash"

    monkeypatch.setattr(nodes, "code_version", code_version)
    found = Node("llama-tiny", BaseSpec({}, 0, 32), code=("mine:Method",))
    assert found.identity["code"] == "a hash"
    assert asked == [(("cl.steps.base:run", "mine:Method"), f"release:base-{KINDS['base'].version}")]


def test_ancestors_come_before_their_children_and_once() -> None:
    root, looked_at = base(), node("data", "looked at")
    left = node("train", "left", {"lr": 1}, {"state": root}, uses={"data": looked_at})
    right = node("train", "right", {"lr": 2}, {"state": base("twin")})
    assert [n.name for n in ancestors([left, right])] == ["base", "looked at", "left", "right"]


def test_of_equal_nodes_the_one_whose_children_need_most_is_an_ancestor() -> None:
    poor, rich = base(), base("rich", needs=frozenset({"optimizer.safetensors"}))
    children = [node("train", str(i), {"i": i}, {"state": state}) for i, state in enumerate((poor, rich, base()))]
    assert [n.name for n in ancestors(children)] == ["rich", "0", "1", "2"]
