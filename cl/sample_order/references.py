"""The reference runs of an estimator: the given order, its reverse, random orders, and one step of every batch.

The reverse comes second because it moves the batches farthest from their given positions. `stars` are single steps from
the start, one per batch: Adam's first step moves every parameter by the learning rate, in a direction that no run with
another first batch takes. Stars are computed from the gradients at the start, which the grid needs anyway; they are not
trained.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import torch
from torch import Tensor

from cl.sample_order.batch_gradients import Stream
from cl.sample_order.grid import Trace
from cl.sample_order.optimizer_replay import Update, step

Order = tuple[int, ...]


def orders(batches: int, count: int, seed: int) -> list[Order]:
    """The orders of the reference runs, all different if there are enough different orders.

    Args:
        batches: number of batches.
        count: number of reference runs.
        seed: seed of the random orders.
    """
    given = tuple(range(batches))
    found = [given, given[::-1]]
    return [*found[:count], *drawn(batches, count - 2, seed, found)] if count > 2 else found[:count]


def drawn(batches: int, count: int, seed: int, beside: Sequence[Order] = ()) -> list[Order]:
    """Random orders, different from each other and from the orders in `beside` if there are enough different orders.

    Args:
        batches: number of batches.
        count: number of orders to draw.
        seed: seed of the draw.
        beside: orders to avoid.
    """
    generator, found, tries = random.Random(seed), list[Order](), 0
    while len(found) < count:
        tries += 1
        order = tuple(generator.sample(range(batches), batches))
        if tries > 100 * (count + 1) or (order not in found and order not in beside):
            found.append(order)
    return found


def stars(stream: Stream, update: Update, start_P: Tensor) -> list[Trace]:
    """One step of each batch from the start, as traces."""
    found = []
    for batch in range(len(stream.batches)):
        state = update.begin(start_P[None])
        step(update, state, 0, stream.gradient(batch, start_P)[1][None])
        found.append(Trace((batch,), (0, 1), torch.stack([start_P, state.theta[0]]).numpy()))
    return found
