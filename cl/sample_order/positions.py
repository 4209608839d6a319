"""What the place of one batch does: to what is remembered of it, and to what is learned in all.

    M[i, j] = loss on batch i where it comes at position j        memorisation
    G[i, j] = loss on a target then                               generalisation

Design `shift`: batch i moves to j, all others keep their order; `random`: mean over random orders of the others. arXiv
2505.22042 draws such heat maps. Under Adam a batch at the very end counts for little, because momentum has not paid it
out (`cl.sample_order.optimizer_replay.position_weights`): lower loss of an early batch is no primacy.
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
    """Orders with a batch at a position: one, or so many for `random`. Raises UserError for an unknown batch."""
    if not 0 <= batch < batches:
        raise UserError(f"order.samples: {batch} is no batch of the stream; name some of 0 to {batches - 1}")
    others = [other for other in range(batches) if other != batch]
    if design == "shift":
        return [(*others[:position], batch, *others[position:])]
    generator, found = random.Random(f"{seed} {batch}"), list[Order]()
    for _ in range(draws):  # the same draws at every position: what differs between columns is the position
        rest = generator.sample(others, len(others))
        found.append((*rest[:position], batch, *rest[position:]))
    return found


def means(values: Sequence[float], draws: int) -> list[float]:
    """Mean of each group of so many values."""
    return [sum(values[start : start + draws]) / draws for start in range(0, len(values), draws)]
