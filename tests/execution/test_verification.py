"""What is no store, what is wrong with nodes, and how a damaged one gets out of the way."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.errors import UserError
from cl.execution.records import DamageError
from cl.execution.store import MARK, RECORD, Store
from cl.execution.verification import check_is_store, set_aside, verify
from cl.hashing import KEY_LENGTH
from tests.support.stored import compute, node


@pytest.fixture(autouse=True)
def fixed_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CL_CODE_VERSION", "test")


def test_what_is_no_store_is_neither_listed_nor_deleted(tmp_path: Path) -> None:
    (tmp_path / "nodes" / "photos").mkdir(parents=True)
    (tmp_path / "nodes" / ("a" * KEY_LENGTH)).mkdir()
    with pytest.raises(UserError, match=r"is no store: it has no cl-store\.json; name another by --store=FOLDER"):
        check_is_store(Store(str(tmp_path)))
    with pytest.raises(UserError, match=r"there is no store at .*; `cl run` makes one"):
        check_is_store(Store(str(tmp_path / "nothing")))


def test_a_store_of_an_earlier_version_has_no_mark(local: Store) -> None:
    compute(local, node())
    (Path(local.root) / MARK).unlink()
    check_is_store(local)


@pytest.mark.parametrize("damage", ["changed", "missing", "added"])
def test_damage_is_found_before_a_node_is_used(store: Store, damage: str) -> None:
    compute(store, node(), {"good.txt": "good", "bad.txt": "bad"})
    place = f"{store.root}/nodes/{node().key}"
    told = {"changed": "bad.txt is changed", "missing": "bad.txt is missing", "added": "more.txt does not belong to it"}
    if damage == "changed":
        store.fs.pipe_file(f"{place}/bad.txt", b"BAD")
    elif damage == "missing":
        store.fs.rm_file(f"{place}/bad.txt")
    else:
        store.fs.pipe_file(f"{place}/more.txt", b"more")
    assert verify(store, node().key) == [told[damage]]
    again = Store(store.url, store.scratch)  # as in another process
    with pytest.raises(DamageError, match=f"{told[damage]}; `cl run` computes it again"):
        again.path(node())
    aside = set_aside(again, node().key)
    assert aside is not None
    assert again.fs.exists(f"{aside}/{RECORD}")
    assert not again.has(node())
    assert set_aside(again, node().key) is None
    compute(again, node(), {"good.txt": "good", "bad.txt": "bad"})
    assert (Store(store.url, store.scratch).path(node()) / "bad.txt").read_text() == "bad"
