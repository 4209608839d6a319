from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from cl.errors import UserError
from cl.execution.records import DamageError
from cl.execution.store import RECORD, Store
from cl.execution.verification import verify
from cl.hashing import KEY_LENGTH
from tests.support.stored import compute, files, node


@pytest.fixture(autouse=True)
def fixed_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_CODE_VERSION", "test")


def test_a_published_node_is_there_and_its_scratch_is_gone(store: Store) -> None:
    assert not store.has(node())
    assert store.keys() == []
    compute(store, node(), {"a.txt": "A", "folder/b.txt": "B"}, parameters=7)
    assert store.has(node())
    assert not store.has(node(1))
    assert store.keys() == [node().key]
    assert store.result(node()) == {"seconds_in_all": 1.0, "parameters": 7}
    assert store.read(node().key).identity == node().identity
    assert (store.path(node()) / "folder/b.txt").read_text() == "B"
    assert files(store.path(node())) == {"a.txt", "folder/b.txt", RECORD}
    assert not (store.scratch / "work" / node().key).exists()
    assert verify(store, node().key) == []


def test_artifacts_that_children_need_are_asked_for(store: Store) -> None:
    compute(store, node())
    rich = node(0, "optimizer.safetensors")
    assert rich.key == node().key
    assert not store.has(rich)
    store.path(node())  # a copy of a store that is not local is fetched again when there is more to fetch
    compute(store, rich, {"model.safetensors": "weights", "optimizer.safetensors": "moments"})
    assert store.has(rich)
    assert store.has(node())
    assert (store.path(rich) / "optimizer.safetensors").read_text() == "moments"
    assert verify(store, rich.key) == []


def test_a_crash_between_files_and_record_leaves_no_node(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(*_: Any, **__: Any) -> None:
        raise OSError("disk is full")

    with monkeypatch.context() as patch:
        if store.is_local:
            patch.setattr(Path, "rename", crash)
        else:
            put = store.fs.put_file
            patch.setattr(store.fs, "put_file", lambda a, b: crash() if b.endswith(RECORD) else put(a, b))
        with pytest.raises(OSError, match="disk is full"):
            compute(store, node(), {"old.txt": "left behind"})
    assert not store.has(node())
    assert store.keys() == []
    with store.work(node()) as work:
        assert work is not None
        assert files(work) == set()  # what a killed process wrote is no part of the next attempt
    compute(store, node(), {"new.txt": "new"})
    assert verify(store, node().key) == []
    assert set(store.read(node().key).files) == {"new.txt"}


def test_checkpoints_survive_in_scratch(local: Store) -> None:
    def interrupted() -> None:
        with local.work(node()) as work:
            assert work is not None
            (work / "checkpoint").write_text("7")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with local.work(node()) as work:
        assert work is not None
        assert (work / "checkpoint").read_text() == "7"


def test_a_result_that_is_not_finite_is_not_published(local: Store) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        compute(local, node(), loss=float("nan"))
    assert not local.has(node())


def changed(content: bytes) -> dict[str, bytes]:
    """Records that were damaged, one kind each."""
    whole = json.loads(content)
    return {
        "cut off": content[: len(content) // 2],
        "empty": b"",
        "no object": b"[]",
        "deep": b"[" * 100_000,
        "a figure": content.replace(b"0.25", b"1.25"),
        "a letter of the seal": content.replace(b'"seal"', b'"seam"'),
        "another field": json.dumps(whole | {"more": 1}).encode(),
        "another node's": json.dumps({**whole, "seal": None, "key": "0" * KEY_LENGTH}).encode(),
        "no text": b"\xff" + content,
    }


@pytest.mark.parametrize("how", list(changed(b"{}")))
def test_a_damaged_record_is_no_result(store: Store, how: str) -> None:
    compute(store, node(), loss=0.25)
    file = f"{store.root}/nodes/{node().key}/{RECORD}"
    store.fs.pipe_file(file, changed(store.fs.cat_file(file))[how])
    assert len(verify(store, node().key)) == 1
    assert verify(store, node().key)[0].startswith(RECORD)
    assert not store.has(node())
    assert list(store.records()) == []
    with pytest.raises(DamageError, match="`cl run` computes it again"):
        store.result(node())


def test_a_record_of_an_earlier_version_has_no_seal(store: Store) -> None:
    compute(store, node(), loss=0.25)
    file = f"{store.root}/nodes/{node().key}/{RECORD}"
    old = json.loads(store.fs.cat_file(file))
    del old["seal"]
    store.fs.pipe_file(file, json.dumps(old).encode())
    assert verify(store, node().key) == []
    assert store.result(node())["loss"] == 0.25


def test_a_node_is_computed_by_one_at_a_time(local: Store) -> None:
    waiting, found = threading.Event(), []

    def second() -> None:
        with Store(local.url).work(node(), waiting.set) as work:
            found.append(work)

    with local.work(node()) as work:
        assert work is not None
        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(10)
        assert found == []
        local.publish(node(), work, {})
    thread.join(10)
    assert found == [None]  # stored meanwhile: nothing to compute


def test_who_waits_for_one_that_fails_computes_it(local: Store) -> None:
    lock = FileLock(local.scratch / "work" / f"{node().key}.lock")
    lock.acquire()
    with local.work(node(), waiting=lock.release) as work:
        assert work is not None


def test_a_record_states_what_was_published(local: Store) -> None:
    compute(local, node(), {"a.txt": "A", "folder/b.txt": "B"})
    record = json.loads((local.path(node()) / RECORD).read_text())
    assert record["key"] == node().key
    assert record["artifacts"] == ["a.txt", "folder"]
    # printf A | sha256sum
    a = "559aead08264d5795d3909718cdd05abd49572e84fe55590eef31a88a08fdffd"
    assert record["files"]["a.txt"] == {"bytes": 1, "sha256": a}


def test_a_store_that_cannot_be_opened() -> None:
    with pytest.raises(UserError, match="store: cannot open 'nosuch://bucket'"):
        Store("nosuch://bucket")


def test_scratch_of_a_remote_store_is_in_the_users_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    first, second = Store("memory://first"), Store("memory://second")
    assert first.scratch.parent == tmp_path / "cl"
    assert first.scratch != second.scratch
