"""Accepting that an edit changed no result: what qualifies, what is found afterwards, and how it is taken back."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.execution import accept, garbage, runner
from cl.execution.store import Store
from cl.graph.node import Node
from tests.support.nodes import node


def stored(store: Store, found: Node) -> Node:
    with store.work(found) as work:
        assert work is not None
        (work / "out" / "model.safetensors").write_bytes(found.name.encode())
        store.publish(found, work, {"seconds_in_all": 1.0, "name": found.name})
    return found


def chain(**more: object) -> list[Node]:
    """A base model, a state, and a row of R; parents first."""
    base = node("base", "base")
    state = node("train", "state", {"lr": 0.1, **more}, {"state": base})
    return [base, state, node("evaluate", "row", {}, {"state": state})]


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """A store with the chain, computed by another version of the code."""
    monkeypatch.setenv("CL_CODE_VERSION", "old")
    found = Store(tmp_path / "store")
    for each in chain():
        stored(found, each)
    monkeypatch.setenv("CL_CODE_VERSION", "new")
    return found


def test_a_whole_chain_that_differs_in_code_alone_is_found(store: Store) -> None:
    assert runner.pending(chain()[-1:], store)
    found = accept.acceptable(chain(), store)
    assert [each.node.name for each in found] == ["base", "state", "row"]
    accept.declare(found, store)
    assert runner.pending(chain()[-1:], store) == []
    row = chain()[-1]
    assert store.result(row)["name"] == "row"
    assert store.path(row).name == found[-1].of
    assert accept.acceptable(chain(), store) == []


def test_another_setting_is_another_node(store: Store) -> None:
    assert [each.node.name for each in accept.acceptable(chain(lr=0.2), store)] == ["base"]


def test_artifacts_that_children_need_must_be_there(store: Store) -> None:
    base, state, _ = chain()
    needy = Node(state.name, state.spec, state.parents, needs=frozenset({"optimizer.safetensors"}))
    assert [each.node.name for each in accept.acceptable([base, needy], store)] == ["base"]


def test_it_is_taken_back(store: Store) -> None:
    accept.declare(accept.acceptable(chain(), store), store)
    for key in accept.declared(chain(), store):
        store.declarations.revoke(key)
    assert len(runner.pending(chain()[-1:], store)) == 3


def test_what_is_computed_later_stands_on_accepted_nodes(store: Store) -> None:
    accept.declare(accept.acceptable(chain(), store), store)
    other = node("evaluate", "other row", {"tokens": 5}, {"state": chain()[1]})
    stored(store, other)
    assert store.has(other)
    assert (store.path(chain()[1]) / "model.safetensors").read_bytes() == b"state"


def test_garbage_collection_keeps_the_nodes_that_stand_in(store: Store) -> None:
    accept.declare(accept.acceptable(chain(), store), store)
    store.needed.add("mine", [each.key for each in chain()])
    garbage.delete(store)
    assert runner.pending(chain()[-1:], store) == []


def test_reports_say_who_accepted_which_edit(store: Store) -> None:
    assert accept.sentences(chain(), store) == []
    accept.declare(accept.acceptable(chain(), store), store)
    (sentence,) = accept.sentences(chain(), store)
    assert sentence.startswith("3 nodes were computed by other code (version); accepted as equal by ")
    assert "base base, train state, evaluate row" in sentence
    declaration = store.declarations.all()[chain()[0].key]
    assert declaration.stored_code == "override:old"
    assert declaration.code == "override:new"
