"""Arrays mapped from a file of safetensors are those that the library reads, and are no copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cl.data.token_files import FILE, mapped


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
