"""Orders of tasks as orders of batches: a task's batches stay together and keep their own order.

Every step is simulated, so an order of tasks gives a whole estimated result matrix: losses after each task of each set.
The optimizer starts afresh where a position says so, whatever batches come there; tasks of unequal length would take
those places apart, and are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from cl.errors import UserError

Order = tuple[int, ...]


def order_of(tasks: Sequence[int], lengths: Sequence[int]) -> Order:
    """The batches of tasks in this order; lengths: batches of each task, in the given order.

    Raises UserError where the lengths differ.
    """
    if len(set(lengths)) > 1:
        raise UserError(f"order: tasks of {list(lengths)} batches cannot change places; give them equal budgets")
    starts = [sum(lengths[:task]) for task in range(len(lengths))]
    return tuple(batch for task in tasks for batch in range(starts[task], starts[task] + lengths[task]))


def boundaries(lengths: Sequence[int]) -> list[int]:
    """The position behind each task."""
    return [sum(lengths[: task + 1]) for task in range(len(lengths))]
