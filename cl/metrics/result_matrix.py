"""The result matrix R as formulas read it.

A formula that reads a cell without a value is undefined and names the cell. It is never 0, and never a mean over the
cells that happen to have values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from cl.errors import UserError

Matrix = npt.NDArray[np.float64]
"""Values of R, shape (T + 1, C); NaN = not evaluated."""


class UndefinedError(Exception):
    """A formula has no value for its inputs. The message is the reason that is shown."""


class ResultMatrix:
    """Result matrix of one run: R[t, i] is the score or loss of data set i after learning t tasks.

    Row 0 is before any training. Columns are numbered from 1: columns 1..T are the tasks in the order in which they
    were learned, columns T+1..C are the retained sets, which are never trained on.

    Args:
        matrix: values, shape (T + 1, C); NaN = not evaluated.
        known: number of leading tasks that a pretrained model had learned before the run.

    Raises:
        UserError: the shape is not (T + 1, C) with C >= T >= 1.
    """

    def __init__(self, matrix: Matrix, known: int = 0) -> None:
        if matrix.ndim != 2 or matrix.shape[0] < 2 or matrix.shape[1] < matrix.shape[0] - 1:
            raise UserError(f"result matrix: shape {matrix.shape} is not (T + 1, C) with C >= T >= 1")
        self.matrix = matrix
        self.known = known
        self.T: int = matrix.shape[0] - 1
        self.C: int = matrix.shape[1]

    def __call__(self, t: int, i: int) -> float:
        """R[t, i]; raises UndefinedError if the cell was not evaluated."""
        value = float(self.matrix[t, i - 1])
        if not math.isnan(value):
            return value
        if np.isnan(self.matrix[t]).all():
            raise UndefinedError(f"row {t} was not evaluated")
        raise UndefinedError(f"R[{t},{i}] was not evaluated")

    def __neg__(self) -> ResultMatrix:
        return ResultMatrix(-self.matrix, self.known)

    def tasks(self) -> range:
        """Tasks 1..T."""
        return range(1, self.T + 1)

    def learned(self) -> range:
        """Tasks that the run learned: known+1..T."""
        return range(self.known + 1, self.T + 1)

    def earlier(self, least: int = 2) -> range:
        """Tasks 1..T-1; raises UndefinedError if the run has fewer than `least` tasks."""
        if least > self.T:
            raise UndefinedError(f"needs at least {least} tasks, there are {self.T}")
        return range(1, self.T)

    def retained(self) -> range:
        """Columns T+1..C; raises UndefinedError if there are none."""
        if self.C == self.T:
            raise UndefinedError("there are no retained sets")
        return range(self.T + 1, self.C + 1)


def mean(values: Iterable[float]) -> float:
    """Mean of some values; raises UndefinedError if there are none."""
    terms = list(values)
    if not terms:
        raise UndefinedError("there is nothing to average")
    return math.fsum(terms) / len(terms)


def as_matrix(rows: Mapping[int, Mapping[str, float]], tasks: Sequence[str], retain: Sequence[str] = ()) -> Matrix:
    """Build the values of R from rows; an absent cell becomes NaN.

    Args:
        rows: by t, values by name of the data set.
        tasks: names of the tasks in the order in which they were learned; they become columns 1..T.
        retain: names of the retained sets; they become columns T+1..C.

    Returns:
        Values of R, shape (T + 1, C).
    """
    columns = [*tasks, *retain]
    return np.array([[rows.get(t, {}).get(name, math.nan) for name in columns] for t in range(len(tasks) + 1)])
