"""Losses of single rows, for what compares one row with another."""

from __future__ import annotations

import torch
from torch import Tensor

from cl.data.batches import collate
from cl.data.rows import Rows
from cl.models.forward import TokenLoss
from cl.models.losses import row_nll


def row_losses(loss: TokenLoss, rows: Rows, count: int, batch: int, device: str) -> Tensor:
    """Mean loss of each of the first rows [count], in nats per learned token of the row, on the CPU.

    Rows of text have equally many tokens, so the mean over rows is the loss of the window. Rows of other sets count
    alike here, whatever their length.

    Args:
        loss: loss of the model.
        rows: rows of a split.
        count: number of rows.
        batch: rows per forward pass.
        device: `cpu` or `cuda`.
    """
    found = []
    with torch.no_grad():
        for start in range(0, count, batch):
            chosen = (rows[row] for row in range(start, min(start + batch, count)))
            part = collate(chosen, loss.separator).to(device)
            learned = part.learned_by_row()
            found.append((row_nll(loss.outputs(part), learned) / learned).cpu())
    return torch.cat(found)
