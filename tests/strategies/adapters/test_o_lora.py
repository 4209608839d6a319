"""O-LoRA: the overlap by hand."""

from __future__ import annotations

import pytest
import torch

from cl.errors import UserError
from strategies.adapters.o_lora import OLora, overlap

OLD = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]])
NEW = torch.tensor([[[3.0, -1.0, 5.0]]])


def test_overlap_by_hand() -> None:
    # (1, 0, 0) . (3, -1, 5) = 3; (0, 2, 0) . (3, -1, 5) = -2
    assert float(overlap(OLD, NEW, "code")) == 5.0
    assert float(overlap(OLD, NEW, "paper")) == 13.0


def test_orthogonal_subspaces_do_not_overlap() -> None:
    assert float(overlap(OLD, torch.tensor([[[0.0, 0.0, 7.0]]]))) == 0.0


def test_modules_of_one_width_are_one_product() -> None:
    both = overlap(torch.cat([OLD, 2 * OLD]), torch.cat([NEW, NEW]))
    assert float(both) == float(overlap(OLD, NEW) + overlap(2 * OLD, NEW))


def test_active_where_it_acts() -> None:
    assert [OLora().active(t) for t in (1, 2)] == [False, True]
    assert OLora(decay=0.1).active(1)
    assert not OLora(orthogonality=0.0).active(2)
    assert OLora(orthogonality=0.0).validate([])


def test_meaningless_settings_are_refused() -> None:
    with pytest.raises(UserError, match="must be at least 0"):
        OLora(orthogonality=-1.0)
