"""Losses of single rows against those of rows read alone."""

from __future__ import annotations

import numpy as np
import pytest

from cl.data.batches import collate
from cl.data.rows import DialogueRows
from cl.models.forward import TokenLoss
from cl.models.row_losses import row_losses
from tests.support.training import SEPARATOR, tiny


def test_each_row_s_loss_is_its_own_whatever_stands_beside_it() -> None:
    tokens = np.array([0, 3, 4, 5, 0, 0, 7, 8, 0, 0, 9, 0], dtype=np.int32)
    rows = DialogueRows(tokens, np.array([0, 5, 9, 12]), np.array([1, 1, 1]))
    loss = TokenLoss(tiny().eval(), SEPARATOR, boundaries=True)
    found = row_losses(loss, rows, 3, 2, "cpu")
    alone = [float(loss.total(collate([rows[row]], SEPARATOR)).detach()) / count for row, count in enumerate((4, 3, 2))]
    assert found.tolist() == pytest.approx(alone, rel=1e-5)
