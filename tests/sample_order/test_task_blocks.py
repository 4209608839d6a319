"""Orders of tasks as orders of batches."""

from __future__ import annotations

import pytest

from cl.errors import UserError
from cl.sample_order import task_blocks


def test_orders_of_tasks_keep_their_batches_together() -> None:
    assert task_blocks.order_of([1, 0, 2], [2, 2, 2]) == (2, 3, 0, 1, 4, 5)
    assert task_blocks.boundaries([2, 2, 2]) == [2, 4, 6]
    with pytest.raises(UserError, match=r"tasks of \[2, 3\] batches"):
        task_blocks.order_of([1, 0], [2, 3])
