"""Rows of token ids: packed text, pieces of text, dialogues, preferences.

A packed row of text is T + 1 ids, cut from a flat array in which every document starts with a separator. A dialogue is
one example of an instruction task and has its own length. A row of n + 1 ids has its first n ids as inputs and its last
n ids as targets.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cl.data import token_files
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
            targets[torch.from_numpy(~self.learned[self.starts[row] + 1 : self.starts[row + 1]])] = IGNORE  # a copy
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
    arrays = token_files.mapped(folder)
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
