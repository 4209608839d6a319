"""Files that are replaced as a whole, folders that appear when complete, and checksums that tell of damage."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cl import durable
from tests.support.damage import damage


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "file.json"
    for content in (b"old", b"new"):
        durable.write(file, content)
        assert file.read_bytes() == content
    assert [path.name for path in file.parent.iterdir()] == ["file.json"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_call_that_fails_leaves_the_old_content_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    durable.write(tmp_path / "file", b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os if call == "fsync" else Path, call, fail)
        with pytest.raises(OSError, match="No space left"):
            durable.write(tmp_path / "file", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("file", b"old")]


def test_a_folder_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "new" / "inner").mkdir(parents=True)
    (tmp_path / "new" / "inner" / "a").write_text("a")
    calls: list[str] = []
    sync, rename = os.fsync, Path.rename

    def synced(file: int) -> None:
        calls.append("fsync")
        sync(file)

    def renamed(path: Path, target: Path) -> Path:
        calls.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    durable.rename(tmp_path / "new", tmp_path / "done")
    assert calls == ["fsync", "fsync", "fsync", "rename", "fsync"]  # file, two folders; then the folder of the name
    assert list(durable.files(tmp_path / "done")) == ["inner/a"]


@pytest.mark.parametrize(("how", "told"), [("flipped", "a is changed"), ("deleted", "a is missing")])
def test_what_differs(tmp_path: Path, how: str, told: str) -> None:
    for name in ("a", "b", "node.json"):
        (tmp_path / name).write_text(name)
    (tmp_path / ".DS_Store").write_text("a file manager was here")
    expected = {name: durable.checksum(tmp_path / name) for name in ("a", "b")}
    ignored = frozenset({"node.json"})
    assert durable.differing(tmp_path, expected, ignored) == []
    assert durable.differing(tmp_path, expected) == ["node.json does not belong to it"]
    damage(tmp_path / "a", how)
    assert durable.differing(tmp_path, expected, ignored) == [told]
