"""Which runs an estimator stands on: the given order, its reverse, random ones, and one step of every batch.

The reverse comes second because its batches meet the most different positions. `stars` are single steps from the start,
one of each batch: under Adam a first step moves every parameter by the learning rate, and no run of another first batch
goes that way. They are computed from gradients at the start, which the grid needs anyway, not trained.
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
    """The orders of so many reference runs, all different where there are so many."""
    given = tuple(range(batches))
    found = [given, given[::-1]]
    return [*found[:count], *drawn(batches, count - 2, seed, found)] if count > 2 else found[:count]


def drawn(batches: int, count: int, seed: int, beside: Sequence[Order] = ()) -> list[Order]:
    """Random orders, none of them among `beside` unless there are no others."""
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
