"""Examples packed into rows: bins and places by hand."""

from __future__ import annotations

import pytest
import torch

from cl.data import batches, packing
from cl.data.batches import Batch
from cl.data.rows import IGNORE

X = IGNORE


@pytest.mark.parametrize(
    ("lengths", "width", "bins"),
    [
        ([3, 5, 2], 8, [[1, 0], [2]]),
        ([3, 5, 2], 10, [[1, 0, 2]]),
        ([4, 4, 4], 4, [[0], [1], [2]]),
        ([6, 2, 5, 3, 4], 10, [[0, 4], [2, 3, 1]]),
        ([0, 2, 0], 4, [[1]]),  # nothing is learned there
        ([0], 4, [[]]),
    ],
)
def test_rows_are_assigned_to_bins(lengths: list[int], width: int, bins: list[list[int]]) -> None:
    assert packing.fit(lengths, width) == bins


def test_tokens_move_and_find_their_way_back() -> None:
    ids = torch.tensor([[10, 11, 12, 13, 0, 0], [20, 21, 22, 23, 24, 25], [30, 31, 32, 0, 0, 0]])
    targets = torch.tensor([[X, 12, 13, X, X], [X, X, 23, 24, 25], [X, 32, X, X, X]])
    batch = Batch(ids, targets)
    found = packing.packed(batch, batches.positions(batches.segments(batch, 0)), 6, 0)
    assert found.ids.tolist() == [[20, 21, 22, 23, 24, 0], [10, 11, 12, 30, 31, 0]]
    assert found.positions.tolist() == [[0, 1, 2, 3, 4, 0], [0, 1, 2, 0, 1, 0]]
    back = found.ids.flatten()[found.places].reshape(3, 5)
    needed = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]).bool()
    assert torch.equal(back[needed], ids[:, :-1][needed])


def test_one_row_has_no_fill() -> None:
    batch = Batch(torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]]), torch.tensor([[X, 3, X], [X, X, 7]]))
    found = packing.packed(batch, batches.positions(batches.segments(batch, 0)), None, 0)
    assert (found.ids.tolist(), found.positions.tolist()) == ([[4, 5, 6, 1, 2]], [[0, 1, 2, 0, 1]])


def test_documents_of_a_row_keep_their_positions() -> None:
    batch = Batch(
        torch.tensor([[0, 5, 0, 6, 7, 8], [9, 8, 7, 6, 5, 4]]), torch.tensor([[5, 0, 6, 7, 8], [X, 7, X, X, X]])
    )
    found = packing.packed(batch, batches.positions(batches.segments(batch, 0)), 8, 0)
    assert found.positions.tolist() == [[0, 1, 0, 1, 2, 0, 1, 0]]
