"""The result matrix: shape, cells without a value, ranges of tasks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cl.errors import UserError
from cl.metrics.result_matrix import ResultMatrix, UndefinedError, as_matrix

NAN = math.nan


@pytest.mark.parametrize("shape", [(1, 3), (4, 2), (3,)])
def test_a_matrix_needs_a_column_for_each_task(shape: tuple[int, ...]) -> None:
    with pytest.raises(UserError, match="result matrix: shape"):
        ResultMatrix(np.zeros(shape))


def test_rows_count_from_0_and_columns_from_1() -> None:
    r = ResultMatrix(np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]), known=1)
    assert (r(0, 1), r(2, 2), (-r)(1, 3)) == (1.0, 8.0, -6.0)
    assert (r.T, r.C) == (2, 3)
    assert [list(each) for each in (r.tasks(), r.learned(), r.earlier(), r.retained())] == [[1, 2], [2], [1], [3]]
    assert list((-r).learned()) == [2]


@pytest.mark.parametrize(("t", "i", "reason"), [(1, 2, r"R\[1,2\] was not"), (0, 1, "row 0 was not evaluated")])
def test_a_missing_cell_is_named(t: int, i: int, reason: str) -> None:
    with pytest.raises(UndefinedError, match=reason):
        ResultMatrix(np.array([[NAN, NAN], [1.0, NAN], [1.0, 2.0]]))(t, i)


def test_as_matrix_leaves_absent_cells_undefined() -> None:
    rows = {2: {"a": 0.5, "b": 0.6, "held": 0.7}, 0: {"a": 0.1}}
    matrix = as_matrix(rows, tasks=["a", "b"], retain=["held"])
    np.testing.assert_array_equal(matrix, [[0.1, NAN, NAN], [NAN, NAN, NAN], [0.5, 0.6, 0.7]])
