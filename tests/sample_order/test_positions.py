"""Where one batch comes, and the others in their order."""

from __future__ import annotations

import pytest

from cl.errors import UserError
from cl.sample_order import positions


def test_a_batch_moves_and_the_others_keep_their_order() -> None:
    assert positions.moved(4, 1, 0) == [(1, 0, 2, 3)]
    assert positions.moved(4, 1, 3) == [(0, 2, 3, 1)]
    drawn = [positions.moved(5, 2, at, "random", 3, seed=4) for at in range(5)]
    assert all(order[at] == 2 for at, orders in enumerate(drawn) for order in orders)
    others = [[tuple(item for item in order if item != 2) for order in orders] for orders in drawn]
    assert all(each == others[0] for each in others)  # the same draws at every position
    assert positions.means([1.0, 3.0, 5.0, 7.0], 2) == [2.0, 6.0]
    with pytest.raises(UserError, match=r"order\.samples: 9 is no batch"):
        positions.moved(4, 9, 0)


def test_orders_of_tasks_keep_their_batches_together() -> None:
    assert positions.order_of([1, 0, 2], [2, 2, 2]) == (2, 3, 0, 1, 4, 5)
    assert positions.boundaries([2, 2, 2]) == [2, 4, 6]
    with pytest.raises(UserError, match=r"tasks of \[2, 3\] batches"):
        positions.order_of([1, 0], [2, 3])
