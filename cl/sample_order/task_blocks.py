"""Orders of tasks as orders of batches: a task's batches stay together and keep their own order.

Every step is simulated, so a task order gives a whole estimated result matrix: the losses on each set after each task.
The optimizer restarts at fixed positions, whatever batches come there. With tasks of unequal length these positions
would fall inside tasks, so unequal lengths are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from cl.errors import UserError

Order = tuple[int, ...]


def order_of(tasks: Sequence[int], lengths: Sequence[int]) -> Order:
    """The batches of tasks in a given order.

    Args:
        tasks: numbers of the tasks, in the new order.
        lengths: number of batches of each task, in the given order.

    Raises:
        UserError: the lengths differ.
    """
    if len(set(lengths)) > 1:
        raise UserError(f"order: tasks of {list(lengths)} batches cannot change places; give them equal budgets")
    starts = [sum(lengths[:task]) for task in range(len(lengths))]
    return tuple(batch for task in tasks for batch in range(starts[task], starts[task] + lengths[task]))


def boundaries(lengths: Sequence[int]) -> list[int]:
    """The position after the last batch of each task."""
    return [sum(lengths[: task + 1]) for task in range(len(lengths))]
