"""Losses of single rows against those of rows read alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from cl.data.batches import DialogueRows, collate
from cl.models.forward import TokenLoss
from cl.probes.probe import State
from cl.probes.row_losses import mean_losses
from tests.support.training import SEPARATOR, tiny


def test_each_row_s_loss_is_its_own_whatever_stands_beside_it() -> None:
    tokens = np.array([0, 3, 4, 5, 0, 0, 7, 8, 0, 0, 9, 0], dtype=np.int32)
    rows = DialogueRows(tokens, np.array([0, 5, 9, 12]), np.array([1, 1, 1]))
    loss = TokenLoss(tiny().eval(), SEPARATOR, boundaries=True)
    found = mean_losses(State(loss, Path(), "cpu", 2), rows)
    alone = [float(loss.total(collate([rows[row]], SEPARATOR)).detach()) / count for row, count in enumerate((4, 3, 2))]
    assert found.tolist() == pytest.approx(alone, rel=1e-5)
