"""Losses of single rows, for probes that compare one text with another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl.probes.probe import State

if TYPE_CHECKING:
    from torch import Tensor

    from cl.data.batches import Rows


def mean_losses(state: State, rows: Rows) -> Tensor:
    """Mean loss of each row [rows] in nats per learned token.

    Args:
        state: the model.
        rows: the rows.
    """
    import torch

    from cl.data.batches import collate
    from cl.models.losses import row_nll

    found = []
    with torch.no_grad():
        for start in range(0, len(rows), state.batch):
            chosen = (rows[row] for row in range(start, min(start + state.batch, len(rows))))
            batch = collate(chosen, state.loss.separator).to(state.device)
            learned = batch.learned_by_row()
            found.append((row_nll(state.loss.outputs(batch), learned) / learned).cpu())
    return torch.cat(found)
