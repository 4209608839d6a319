"""Effect of a batch's position on the loss of the batch itself and on the loss of a target.

    M[i, j] = loss on batch i if it comes at position j        memorisation
    G[i, j] = loss on a target in that case                    generalisation

Design `shift`: batch i moves to position j and all other batches keep their order. Design `random`: mean over random
orders of the other batches. arXiv 2505.22042 draws such heat maps.

Under Adam a batch at the very end has little effect, because momentum has not yet applied its gradient
(`cl.sample_order.optimizer_replay.position_weights`). So a lower loss of an early batch is no evidence of primacy.
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
