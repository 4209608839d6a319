"""Garbage collection: what is deleted, and what is kept."""

from __future__ import annotations

import multiprocessing
from typing import Any

import pytest

from cl.errors import UserError
from cl.execution import garbage
from cl.execution.store import Store
from cl.graph.node import Node
from cl.hashing import KEY_LENGTH
from tests.support.stored import compute, files, node


@pytest.fixture(autouse=True)
def fixed_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_CODE_VERSION", "test")


def test_garbage_is_what_no_experiment_stands_on(store: Store) -> None:
    for seed in range(4):
        compute(store, node(seed))
    a, b, c, d = (node(seed).key for seed in range(4))
    store.needed.add("first", [a, b])
    store.needed.add("second", [b, c])
    assert store.needed.all() == ({"first": {a, b}, "second": {b, c}}, [])
    assert garbage.find(store) == [d]
    assert set(garbage.find(store, ["first"])) == {a, d}
    assert set(garbage.find(store, ["first", "second"])) == {a, b, c, d}
    assert store.keys() == sorted([a, b, c, d])  # asking deletes nothing
    size = store.size(d)
    assert garbage.delete(store) == size
    assert garbage.delete(store) == 0
    assert store.keys() == sorted([a, b, c])
    garbage.delete(store, ["first"])
    assert store.keys() == sorted([b, c])
    assert set(store.needed.all()[0]) == {"second"}


@pytest.mark.parametrize("dropped", [["frist"], ["first", "other"]])
def test_dropping_an_unknown_experiment_is_an_error(store: Store, dropped: list[str]) -> None:
    store.needed.add("first", [])
    with pytest.raises(UserError, match=r"drop: no experiment .* it has \['first'\]"):
        garbage.delete(store, dropped)


def test_nodes_in_part_are_garbage_unless_someone_needs_them(store: Store) -> None:
    needed, leftover = "a" * KEY_LENGTH, "b" * KEY_LENGTH
    for key in (needed, leftover, "photos"):
        store.fs.makedirs(f"{store.root}/nodes/{key}")
        store.fs.pipe_file(f"{store.root}/nodes/{key}/model.safetensors", b"1234")
    store.needed.add("running", [needed])
    assert store.keys() == []
    assert garbage.delete(store) == 4
    assert store.fs.exists(f"{store.root}/nodes/{needed}/model.safetensors")
    assert not store.fs.exists(f"{store.root}/nodes/{leftover}")
    assert store.fs.exists(f"{store.root}/nodes/photos/model.safetensors")  # is no node


def test_a_node_that_is_needed_meanwhile_stays(local: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is planned between the search for garbage and its deletion."""
    for seed in (1, 2):
        compute(local, node(seed))
    local.needed.add("old", [])
    found = garbage.find

    def find(store: Store, dropped: Any = ()) -> list[str]:
        candidates = found(store, dropped)
        Store(store.url).needed.add("new", [node(1).key])
        return candidates

    monkeypatch.setattr(garbage, "find", find)
    garbage.delete(local)
    assert local.keys() == [node(1).key]


def test_gc_deletes_scratch_that_nobody_needs(local: Store) -> None:
    for seed in (1, 2):
        with local.work(node(seed)) as work:
            assert work is not None
            (work / "checkpoint").write_text("12345")
    local.needed.add("unfinished", [node(1).key])
    assert garbage.delete(local) == 5
    assert files(local.scratch / "work" / node(1).key) == {"checkpoint"}
    assert not (local.scratch / "work" / node(2).key).exists()


def test_gc_leaves_scratch_of_a_node_that_another_process_computes(local: Store) -> None:
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(local.url, node(1), ready, done))
    process.start()
    try:
        assert ready.wait(60)
        assert garbage.delete(local) == 0
        assert (local.scratch / "work" / node(1).key / "checkpoint").exists()
    finally:
        done.set()
        process.join()
    assert garbage.delete(local) == 5


def hold(url: str, wanted: Node, ready: Any, done: Any) -> None:
    """Hold a node in progress until told to let go (in another process)."""
    with Store(url).work(wanted) as work:
        assert work is not None
        (work / "checkpoint").write_text("12345")
        ready.set()
        done.wait(60)
