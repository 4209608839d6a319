"""Rows of token ids (packed text or dialogues), batches of rows, and attention inside documents.

A packed row of text is T + 1 ids, cut from a flat array in which every document starts with a separator. A dialogue is
one example of an instruction task and has its own length. A row of n + 1 ids has its first n ids as inputs and its last
n ids as targets.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file
from torch import Tensor

from cl.errors import UserError

IGNORE = -100  # target that is not learned: the default `ignore_index` of torch's cross-entropy
PIECES, PIECE_LENGTHS = "pieces", "piece_lengths"  # arrays of a cut node, see `PieceRows`

Ints = npt.NDArray[np.int64]


class Row(NamedTuple):
    """One row.

    Args:
        ids: token ids [n+1].
        targets: target ids [n], IGNORE at tokens that are not learned; None: every next token is learned.
        rejected: for a preference, the row with the worse answer; it follows this row in a batch.
        segments: number of each input token's segment [n]; None: see `segments`.
    """

    ids: Tensor
    targets: Tensor | None
    rejected: Row | None = None
    segments: Tensor | None = None


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


class Rows(Protocol):
    """Rows of one split.

    Attributes:
        lengths: input tokens of each row [rows].
        ordered: rows are read as they are stored, in each epoch, and not in a random order.
    """

    lengths: Ints
    ordered: bool

    def __len__(self) -> int:
        """Number of rows."""

    def __getitem__(self, row: int) -> Row:
        """Return one row, with ids in int64."""


class PackedRows:
    """Rows of packed text.

    Args:
        tokens: flat array of token ids.
        sequence: input tokens per row; a row has one id more.
    """

    ordered = False

    def __init__(self, tokens: npt.NDArray[np.int32], sequence: int) -> None:
        self.tokens, self.sequence = tokens, sequence
        self.lengths: Ints = np.full(len(self), sequence, dtype=np.int64)

    def __len__(self) -> int:
        return max(0, (self.tokens.size - 1) // self.sequence)

    def __getitem__(self, row: int) -> Row:
        _inside(row, len(self))
        start = row * self.sequence
        return Row(torch.from_numpy(self.tokens[start : start + self.sequence + 1].astype(np.int64)), None)


class DialogueRows:
    """Rows of an instruction task, one example per row, from the arrays of `cl.data.tokenization`.

    Args:
        tokens: flat array of token ids.
        starts: index of the first token of each row, and the total number of tokens [rows+1].
        answers: number of tokens of each row before its answer [rows].
        learned: whether each token is learned, where an answer is learned in parts. None: all of it.
    """

    ordered = False

    def __init__(
        self,
        tokens: npt.NDArray[np.int32],
        starts: Ints,
        answers: Ints,
        learned: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        self.tokens, self.starts, self.answers, self.learned = tokens, starts, answers, learned
        self.lengths: Ints = np.diff(starts) - 1

    def __len__(self) -> int:
        return len(self.answers)

    def __getitem__(self, row: int) -> Row:
        _inside(row, len(self))
        ids = torch.from_numpy(self.tokens[self.starts[row] : self.starts[row + 1]].astype(np.int64))
        targets = ids[1:].clone()
        targets[: int(self.answers[row]) - 1] = IGNORE
        if self.learned is not None:
            targets[~torch.from_numpy(self.learned[self.starts[row] + 1 : self.starts[row + 1]])] = IGNORE
        return Row(ids, targets)

    def question(self, row: int) -> Tensor:
        """Token ids of a row up to its answer."""
        return self[row].ids[: int(self.answers[row])]


class PairRows:
    """Rows of a preference set: the dialogue with the better answer, with the worse one as its `rejected`.

    `dialogues` holds both answers in turn, the better answer first; `lengths` counts the input tokens of both.
    """

    ordered = False

    def __init__(self, dialogues: DialogueRows) -> None:
        self.dialogues = dialogues
        self.lengths: Ints = dialogues.lengths.reshape(-1, 2).sum(1)

    def __len__(self) -> int:
        return len(self.dialogues) // 2

    def __getitem__(self, row: int) -> Row:
        _inside(row, len(self))
        return self.dialogues[2 * row]._replace(rejected=self.dialogues[2 * row + 1])


class PieceRows:
    """Rows that consist of pieces of text of one length; nothing is read from one piece to another.

    Args:
        tokens: flat array of token ids.
        starts: first id of each piece, row by row. A piece of n tokens has n + 1 ids.
        lengths: tokens of the pieces of each row [rows].
        sequence: input tokens per row.
    """

    ordered = True

    def __init__(self, tokens: npt.NDArray[np.int32], starts: Ints, lengths: Ints, sequence: int) -> None:
        self.tokens, self.starts, self.pieces, self.sequence = tokens, starts, lengths, sequence
        self.first = np.cumsum([0, *(sequence // lengths)])
        self.lengths: Ints = np.full(len(self), sequence, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, row: int) -> Row:
        _inside(row, len(self))
        starts, length = self.starts[self.first[row] : self.first[row + 1]], int(self.pieces[row])
        ids = torch.from_numpy(self.tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64))
        inputs, targets = ids[:, :-1].flatten(), ids[:, 1:].flatten()
        segments = torch.arange(len(starts)).repeat_interleave(length)
        return Row(torch.cat([inputs, targets[-1:]]), targets, segments=segments)


def _inside(row: int, rows: int) -> None:
    if not 0 <= row < rows:
        raise IndexError(f"row {row} of {rows}")


def rows(folder: Path, name: str, split: str, sequence: int) -> Rows:
    """Read the rows of a split of a stored data node.

    Args:
        folder: folder of the node.
        name: name of the data set, for error messages.
        split: name of the split.
        sequence: tokens per row: the length of packed rows, the largest length of dialogues.

    Raises:
        UserError: for an example that is longer than `sequence`.
    """
    arrays = load_file(folder / "tokens.safetensors")
    if f"{split}.{PIECES}" in arrays:
        return PieceRows(arrays[split], arrays[f"{split}.{PIECES}"], arrays[f"{split}.{PIECE_LENGTHS}"], sequence)
    if f"{split}.starts" not in arrays:
        return PackedRows(arrays[split], sequence)
    parts = (arrays[split], arrays[f"{split}.starts"], arrays[f"{split}.answers"])
    found = DialogueRows(*parts, arrays.get(f"{split}.learned"))
    longest = int(found.lengths.max(initial=0))
    if longest > sequence:
        raise UserError(f"train.sequence: {sequence} is less than the longest example of {name}; raise it to {longest}")
    return PairRows(found) if f"{split}.pairs" in arrays else found


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
