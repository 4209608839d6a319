"""The protocol of methods that cut the training text of tasks into rows of their own, in a node of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cl.methods.method import Method

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Text:
    """Argument of `CutsRows.cut`: the training text of one task.

    Args:
        edges: first id of each document, and of the separator behind the last one [documents+1]. The id with which the
            next document begins is the last target of a document.
        sequence: tokens per row.
        batch: rows per optimizer step.
    """

    edges: Ints
    sequence: int
    batch: int


@dataclass(frozen=True)
class Cut:
    """Rows that consist of pieces of the text; nothing is read from one piece to another.

    Args:
        starts: first id of each piece, row by row. A piece of n tokens reads n ids and predicts the n behind the first.
        lengths: tokens of the pieces of each row [rows]; `sequence` is a multiple of each.
    """

    starts: Ints
    lengths: Ints


class CutsRows(Method):
    """Decides which rows a stage reads of its text, and in which order: rows are read as they are cut.

    A cut node stands between the text and the stage, so memories, teachers and replay know these rows as well. Rows of
    R and probes measure the text as it is. Tasks of other kinds are left as they are.
    """

    def fits_shape(self, sequence: int, batch: int) -> None:
        """Check the shape of a step. Runs while planning.

        Raises:
            UserError: if text cannot be cut for it.
        """

    def cut(self, text: Text) -> Cut:
        """Return the rows of a task's training text, in the order in which they are read."""
        raise NotImplementedError
