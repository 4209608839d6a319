"""Arrays mapped from a file of safetensors are those that the library reads, and are no copies."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cl.data.token_files import FILE, Growing, kind_of_ids, mapped


def test_the_arrays_of_the_library_s_own_reader(tmp_path: Path) -> None:
    arrays = {
        "train": np.arange(1001, dtype=np.int32),
        "train.starts": np.arange(7, dtype=np.int64),
        "train.learned": np.array([True, False, True]),
        "test": np.zeros(0, np.int32),
        "validation": np.arange(6, dtype=np.int32).reshape(2, 3),
    }
    save_file(arrays, tmp_path / FILE, metadata={"format": "np"})
    found, expected = mapped(tmp_path), load_file(tmp_path / FILE)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        assert np.array_equal(found[name], value)


def test_nothing_is_copied_and_nothing_can_be_changed(tmp_path: Path) -> None:
    save_file({"train": np.arange(1000, dtype=np.int32)}, tmp_path / FILE)
    found = mapped(tmp_path)["train"]
    assert isinstance(found, np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        found[0] = 1


ROUNDS = [("train", [1, 2, 3], 2), ("train", [65535], 3), ("validation", [], 0), ("test", [9, 8], 1)]


@pytest.mark.parametrize("kind", [np.uint16, np.uint32])
@pytest.mark.parametrize("again", [False, True])
def test_a_file_in_rounds_is_one_of_safetensors(kind: Any, again: bool, tmp_path: Path) -> None:
    file = Growing(tmp_path / "work", kind)
    for place, (name, ids, documents) in enumerate(ROUNDS):
        if again:  # a process was killed after half a round
            with (tmp_path / "work" / FILE).open("ab") as broken:
                broken.write(b"\x01\x02\x03")
            file = Growing(tmp_path / "work", kind)
        begun = [file.begin(each) for each, *_ in ROUNDS[: place + 1]]
        assert begun[-1] == (2 if ids == [65535] else 0)
        if ids:
            file.append(name, np.array(ids, np.int32), documents)
    assert file.finish(tmp_path / FILE) == {"train": 4, "validation": 0, "test": 2}
    for found in (mapped(tmp_path), load_file(tmp_path / FILE)):
        assert {name: array.tolist() for name, array in found.items()} == {
            "train": [1, 2, 3, 65535], "validation": [], "test": [9, 8],
        }  # fmt: skip
        assert {array.dtype for array in found.values()} == {np.dtype(kind)}


def test_a_process_that_ended_after_the_file_was_complete_is_followed_by_a_new_file(tmp_path: Path) -> None:
    for _ in range(2):
        file = Growing(tmp_path / "work", np.uint16)
        assert file.begin("train") == 0
        file.append("train", np.arange(5), 1)
        file.finish(tmp_path / FILE)
    assert mapped(tmp_path)["train"].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("largest", "kind"), [(65535, np.uint16), (65536, np.uint32)])
def test_the_smallest_type_that_holds_every_id(largest: int, kind: type) -> None:
    assert kind_of_ids(SimpleNamespace(get_vocab=lambda: {"a": 3, "b": largest})) is kind
