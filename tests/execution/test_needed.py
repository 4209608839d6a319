"""What experiments need: several plans, several writers, damaged files, files of earlier versions."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from cl.errors import UserError
from cl.execution import garbage
from cl.execution.store import Store
from tests.support.stored import compute, node


def test_another_plan_adds(store: Store) -> None:
    for keys in (["a"], ["b"], ["a"]):
        store.needed.add("first", keys)
    store.needed.add("second.json", ["c"])
    assert store.needed.all() == ({"first": {"a", "b"}, "second.json": {"c"}}, [])
    store.needed.drop("first")
    assert store.needed.all() == ({"second.json": {"c"}}, [])


def test_many_writers_lose_nothing(local: Store) -> None:
    def write(number: int) -> None:
        for each in range(30):
            Store(local.url).needed.add("shared", [f"{number}-{each}"])

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert local.needed.all()[1] == []  # a reader never sees half a file
    expected = {f"{number}-{each}" for number in range(4) for each in range(30)}
    assert local.needed.all() == ({"shared": expected}, [])


@pytest.mark.parametrize("content", ["", "{", "{}", '["a", "c"]', "[1]", "[" * 100_000])
def test_a_damaged_file_blocks_deletion_alone(local: Store, content: str) -> None:
    compute(local, node())
    local.needed.add("first", ["a", "b"])
    local.needed.add("second", ["c"])
    (file,) = (Path(local.root) / "experiments" / "first").iterdir()
    file.write_text(content)
    fresh = Store(local.url)
    assert fresh.needed.all() == ({"first": set(), "second": {"c"}}, [str(file)])
    with pytest.raises(UserError, match=r"is damaged, so that it is not known what is needed; delete it"):
        garbage.delete(fresh)
    assert fresh.has(node())
    fresh.needed.add("first", ["a", "b"])  # `cl run` writes it again
    assert fresh.needed.all()[1] == []


def test_a_path_that_is_a_pattern_hides_nothing(tmp_path: Path) -> None:
    """What is not found to be needed would be deleted."""
    store = Store(tmp_path / "runs[1]*" / "store?")
    store.open_for_writing()
    compute(store, node())
    store.needed.add("first", [node().key])
    assert store.needed.all() == ({"first": {node().key}}, [])
    assert garbage.delete(store) == 0
    assert store.has(node())


def test_files_of_earlier_versions_count(local: Store) -> None:
    old = Path(local.root) / "roots"
    old.mkdir()
    (old / "first.json").write_text(json.dumps([node().key]))
    compute(local, node())
    assert garbage.find(local) == []
    local.needed.add("first", ["b"])
    assert local.needed.all() == ({"first": {node().key, "b"}}, [])
    assert garbage.find(local, ["first"]) == [node().key]
    local.needed.drop("first")
    assert local.needed.all() == ({}, [])
