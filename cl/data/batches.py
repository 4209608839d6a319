"""Batches of rows, and attention inside documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor

from cl.data.rows import IGNORE, Row


class Batch(NamedTuple):
    """Rows of equal length.

    Args:
        ids: token ids [B, T+1].
        targets: target ids [B, T], IGNORE at tokens that are not learned; None: every next token is learned.
        origin: origin of each row [B, 2]: number of the plan's reading or of the task, and number of the row in it;
            None if unknown.
        parts: number of each input token's segment [B, T], where rows state it; None: see `segments`.
    """

    ids: Tensor
    targets: Tensor | None
    origin: Tensor | None = None
    parts: Tensor | None = None

    def learned(self) -> Tensor | int:
        """Number of target tokens that are learned."""
        return self.ids[:, 1:].numel() if self.targets is None else (self.targets != IGNORE).sum()

    def learned_by_row(self) -> Tensor:
        """Number of learned target tokens of each row [B]."""
        if self.targets is None:
            return torch.full((len(self.ids),), self.ids.shape[1] - 1, device=self.ids.device)
        return (self.targets != IGNORE).sum(1)

    def split(self, rows: int) -> list[Batch]:
        """Micro-batches of at most `rows` rows."""
        return [self.at(slice(start, start + rows)) for start in range(0, len(self.ids), rows)]

    def at(self, rows: slice | Tensor) -> Batch:
        """Select rows by a slice or a mask [B]."""
        return Batch(*(None if value is None else value[rows] for value in self))  # type: ignore[arg-type]

    def to(self, device: str) -> Batch:
        """The batch on a device."""
        return Batch(*(None if value is None else value.to(device) for value in self))  # type: ignore[arg-type]


def collate(found: Iterable[Row], separator: int, origin: Tensor | None = None) -> Batch:
    """Collate rows into a batch, padded on the right with separators that are not learned.

    A preference becomes two rows with the same origin: the better answer, then the worse answer.

    Args:
        found: the rows.
        separator: id of the separator.
        origin: origin of each row [rows, 2], see `Batch`.
    """
    found = list(found)
    if found[0].rejected is not None:
        found = [one for row in found for one in (row, row.rejected) if one is not None]
        origin = None if origin is None else origin.repeat_interleave(2, 0)
    if all(row.targets is None for row in found):
        return Batch(torch.stack([row.ids for row in found]), None, origin)
    width = max(len(row.ids) for row in found)
    ids = torch.full((len(found), width), separator)
    targets = torch.full((len(found), width - 1), IGNORE)
    for index, row in enumerate(found):
        ids[index, : len(row.ids)] = row.ids
        targets[index, : len(row.ids) - 1] = row.ids[1:] if row.targets is None else row.targets
    return Batch(ids, targets, origin, _parts(found, width - 1, separator))


def _parts(found: Sequence[Row], width: int, separator: int) -> Tensor | None:
    """Number of each input token's segment [B, T], if one of the rows states it; padding continues the last one."""
    if all(row.segments is None for row in found):
        return None
    parts = torch.zeros(len(found), width, dtype=torch.int64)
    for index, row in enumerate(found):
        own = row.segments
        if own is None:
            targets = None if row.targets is None else row.targets[None]
            own = segments(Batch(row.ids[None], targets), separator)[0]
        parts[index] = own[-1]
        parts[index, : len(own)] = own
    return parts


def segments(batch: Batch, separator: int) -> Tensor:
    """Return the segment number of each input token [B, T]; in packed text a separator starts a new segment.

    Rows that state their segments have these.

    A dialogue (its first target is never learned) is one segment: some chat templates write the separator between
    turns, and the answer must attend to the question. Padding follows the answer, so no learned token attends to it.

    Args:
        batch: the batch.
        separator: id of the separator.
    """
    if batch.parts is not None:
        return batch.parts
    found = (batch.ids[:, :-1] == separator).cumsum(1)
    return found if batch.targets is None else found * (batch.targets[:, :1] != IGNORE)


def starts(segments_BT: Tensor) -> Tensor:
    """Whether each token is the first of its segment in its row [B, T]."""
    found = torch.ones_like(segments_BT, dtype=torch.bool)
    found[:, 1:] = segments_BT[:, 1:] != segments_BT[:, :-1]
    return found


def positions(segments_BT: Tensor) -> Tensor:
    """Position of each token in its segment [B, T]."""
    index = torch.arange(segments_BT.shape[1], device=segments_BT.device).expand_as(segments_BT)
    return index - torch.where(starts(segments_BT), index, 0).cummax(1).values


def documents(ids_BT: Tensor, segments_BT: Tensor) -> Iterator[dict[int, Tensor]]:
    """Yield the segments of rows in groups of similar length, each small enough to be read as one batch.

    Args:
        ids_BT: token ids.
        segments_BT: number of each token's segment.

    Yields:
        Token ids of each segment of the group, by its number in reading order. The group's segments, padded to the
        longest, hold no more tokens than the rows.
    """
    flat = ids_BT.flatten()
    edges = [*starts(segments_BT).flatten().nonzero().flatten().tolist(), len(flat)]
    pieces = [flat[start:end] for start, end in pairwise(edges)]
    order = sorted(range(len(pieces)), key=lambda place: len(pieces[place]), reverse=True)
    while order:
        fit = max(1, len(flat) // len(pieces[order[0]]))
        yield {place: pieces[place] for place in order[:fit]}
        order = order[fit:]
