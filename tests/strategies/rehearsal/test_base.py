"""Rehearsal: replayed rows are taken out of the task loss."""

from __future__ import annotations

import pytest
import torch

from cl.data.batches import Batch
from cl.data.sampling import Reading
from cl.errors import UserError
from strategies.rehearsal.a_gem import AGEM

ROWS = Batch(torch.zeros(2, 3, dtype=torch.int64), None, torch.tensor([[0, 4], [1, 9]]))


def test_it_takes_what_is_replayed() -> None:
    readings = [Reading("new"), Reading("old", replay=True)]
    taken = AGEM().row_mask(ROWS, readings)
    assert taken is not None
    assert taken.tolist() == [False, True]


def test_without_replay_it_says_so() -> None:
    with pytest.raises(UserError, match=r"a_gem: nothing is replayed in this stage; put replay .* beside it"):
        AGEM().row_mask(ROWS, [Reading("new"), Reading("other")])
    assert not AGEM().active(1)
