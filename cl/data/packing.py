"""Examples of unequal length packed into rows of one length, so that no product is computed for padding.

Only the tokens of a batch move: which examples make a step, and the targets that they learn, stay. Each example keeps
its positions, which restart, so that attention stays inside of it (`cl.models.forward`).

Shapes: B rows of T input tokens in the batch, R packed rows of S tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from cl.data.batches import Batch
from cl.data.rows import IGNORE


class Packed(NamedTuple):
    """Packed rows.

    Args:
        ids: token ids [R, S]; separators fill the end of a row.
        positions: position of each token in its document [R, S]; the fill is a document of its own.
        places: place of each token of the batch among the packed tokens [B*T], and 0 for tokens after the last learned
            target of their row, which are not packed.
    """

    ids: Tensor
    positions: Tensor
    places: Tensor


@torch.compiler.disable  # type: ignore[untyped-decorator]  # the number of rows depends on values
def packed(batch: Batch, positions_BT: Tensor, width: int | None, separator: int) -> Packed:
    """Pack the rows of a batch up to the last learned target of each.

    Args:
        batch: rows with targets, none of them learned over more than `width` tokens.
        positions_BT: position of each input token in its document.
        width: tokens per packed row. None: one row for all.
        separator: id of the separator.
    """
    assert batch.targets is not None
    index = torch.arange(1, batch.targets.shape[1] + 1, device=batch.ids.device)
    lengths = (index * (batch.targets != IGNORE)).amax(1).tolist()
    width = max(1, sum(lengths)) if width is None else width
    bins = fit(lengths, width)
    device, columns = batch.ids.device, batch.targets.shape[1]
    places = torch.zeros(len(lengths), columns, dtype=torch.int64)
    positions = torch.arange(width).repeat(len(bins), 1)
    source = torch.zeros(len(bins), width, dtype=torch.int64)
    filled = torch.zeros(len(bins), width, dtype=torch.bool)
    for number, members in enumerate(bins):
        start = 0
        for row in members:
            stop = start + lengths[row]
            source[number, start:stop] = row * columns + torch.arange(lengths[row])
            places[row, : lengths[row]] = number * width + torch.arange(start, stop)
            start = stop
        filled[number, :start] = True
        positions[number, start:] -= start
    source, filled, positions = source.to(device), filled.to(device), positions.to(device)
    ids = torch.where(filled, batch.ids[:, :-1].flatten()[source], separator)
    positions = torch.where(filled, positions_BT.flatten()[source], positions)
    return Packed(ids, positions, places.flatten().to(device))


def fit(lengths: Sequence[int], width: int) -> list[list[int]]:
    """Assign rows to bins: first fit, the longest rows first (at most 11/9 of the fewest bins, and 6/9 of a bin).

    Args:
        lengths: tokens of each row; rows without tokens are in no bin.
        width: tokens of a bin.

    Returns:
        Numbers of the rows in each bin.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: -lengths[row]):
        if not lengths[row]:
            continue
        place = next((place for place, left in enumerate(room) if left >= lengths[row]), len(bins))
        if place == len(bins):
            bins.append([])
            room.append(width)
        bins[place].append(row)
        room[place] -= lengths[row]
    return bins or [[]]
