"""Rows of packed text and of examples: their number, their ids, and their length."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
import torch

from cl.data.rows import PackedRows, rows
from cl.errors import UserError
from cl.execution import runner
from tests.support.instruction import write_stream
from tests.support.training import Quiet, plan


def test_rows_share_one_token_and_drop_the_tail() -> None:
    packed = PackedRows(np.arange(12, dtype=np.int32), 4)
    assert len(packed) == 2  # 9, 10 and 11 do not fill a row
    assert (packed[0].ids.tolist(), packed[1].ids.tolist()) == ([0, 1, 2, 3, 4], [4, 5, 6, 7, 8])
    assert packed[0].ids.dtype == torch.int64


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 0), (4, 0), (5, 1), (8, 1), (9, 2), (12, 2), (13, 3)])
def test_number_of_rows(size: int, count: int) -> None:
    assert len(PackedRows(np.zeros(size, np.int32), 4)) == count


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_outside_is_an_error(row: int) -> None:
    with pytest.raises(IndexError, match="of 2"):
        PackedRows(np.arange(12, dtype=np.int32), 4)[row]


def test_an_example_longer_than_a_row_is_an_error_with_the_length_it_needs(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, train={"sequence": 4, "batch": 8})
    planned, store = plan(folder)
    with contextlib.chdir(folder):
        runner.run(runner.pending(planned.data.values(), store), store, Quiet())
        with pytest.raises(
            UserError, match=r"train\.sequence: 4 is less than the longest example of copy; raise it to \d+"
        ):
            rows(store.path(planned.data["copy"]), "copy", "train", 4)
