"""Orders that answer a question: one batch at another position, or whole tasks in another order.

    M[i, j] = loss on batch i if it comes at position j        memorisation
    G[i, j] = loss on a target in that case                    generalisation

Design `shift`: batch i moves to position j and all other batches keep their order. Design `random`: mean over random
orders of the other batches. arXiv 2505.22042 draws such heat maps.

Under Adam a batch at the very end has little effect, because momentum has not yet applied its gradient
(`cl.sample_order.optimizer_replay.position_weights`). So a lower loss of an early batch is no evidence of primacy.

Tasks: a task's batches stay together and keep their own order. Every step is simulated, so a task order gives a whole
estimated result matrix: the losses on each set after each task. The optimizer restarts at fixed positions, whatever
batches come there. With tasks of unequal length these positions would fall inside tasks, so unequal lengths are
refused.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

from cl.errors import UserError

Order = tuple[int, ...]
Design = Literal["shift", "random"]


def moved(
    batches: int, batch: int, position: int, design: Design = "shift", draws: int = 1, seed: int = 0
) -> list[Order]:
    """Orders with one batch at a given position: one order for `shift`, `draws` orders for `random`.

    Args:
        batches: number of batches.
        batch: the batch that is moved.
        position: its new position.
        design: `shift` or `random`.
        draws: random orders of the other batches.
        seed: seed of the random orders.

    Raises:
        UserError: there is no such batch.
    """
    if not 0 <= batch < batches:
        raise UserError(f"order.samples: {batch} is no batch of the stream; name some of 0 to {batches - 1}")
    others = [other for other in range(batches) if other != batch]
    if design == "shift":
        return [(*others[:position], batch, *others[position:])]
    generator, found = random.Random(f"{seed} {batch}"), list[Order]()
    for _ in range(draws):  # the same draws at every position, so columns differ by the position alone
        rest = generator.sample(others, len(others))
        found.append((*rest[:position], batch, *rest[position:]))
    return found


def means(values: Sequence[float], draws: int) -> list[float]:
    """Mean of each group of `draws` successive values."""
    return [sum(values[start : start + draws]) / draws for start in range(0, len(values), draws)]


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
