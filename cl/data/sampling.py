"""Draw rows from sources: exact blends, reading orders, and share keys that state how a source is read.

| share key                                | rows                                                                      |
|------------------------------------------|---------------------------------------------------------------------------|
| `german`                                 | fresh rows of `german` in its reading order, from the ledger on           |
| `replay:german`                          | trained rows of `german` in the order of training                         |
| `replay:german?max_epochs=2&reshuffle=7` | trained rows with options, see `Reading`                                  |
| `replay:german?buffer=200`               | 200 trained rows, a random choice kept by a buffer, read in turn          |
| `plain:chat`, `both:chat`                | fresh rows of `chat`, its examples as plain text                          |

Source: continual pre-training, 2403.08763, and its GPT-NeoX code (blendable_dataset.py, PR 1200).
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from operator import add

import numpy as np
import numpy.typing as npt

from cl.errors import UserError

Ints = npt.NDArray[np.int64]

REPLAY = "replay:"
VIEWS = ("plain", "both")
BUFFER = 2**32 - 1  # used as epoch in the seed of a buffer's keys, so that they differ from reading orders


def blend(weights: Sequence[float], n: int) -> Ints:
    """Assign each of n samples to a stream, so that every prefix is close to the weights.

    Sample k comes from argmax_i (w_i * max(k, 1) - count_i), ties from the lowest i (GPT-NeoX
    `build_blending_indices`). Deviation: exact integer arithmetic on the weights' decimal values instead of floating
    point, so that ties do not depend on rounding. Measured |count_i - w_i * k| over all prefixes: up to 1 for two
    streams, 1.31 for one stream with 5 % and seven unequal streams, 1.95 if seven streams share the 5 %.

    Args:
        weights: weight of each stream.
        n: number of samples.

    Returns:
        Number of the stream of each sample [n].

    Raises:
        UserError: for a negative weight, and for a sum that is not 1.
    """
    if any(weight < 0 for weight in weights) or not math.isclose(sum(weights), 1, abs_tol=1e-9):
        raise UserError(f"shares: {list(weights)} must not be negative and must sum to 1; correct the shares")
    exact = [Fraction(str(float(weight))) for weight in weights]
    scale = math.lcm(*(weight.denominator for weight in exact))
    steps = [int(weight * scale) for weight in exact]
    whole = sum(steps)
    due = steps.copy()  # scale * (w_i * max(k, 1) - count_i)
    out = []
    for k in range(n):
        if k > 1:
            due = list(map(add, due, steps))
        chosen = due.index(max(due))
        due[chosen] -= whole
        out.append(chosen)
    return np.array(out, dtype=np.int64)


def replay_shares(consumed: Mapping[str, int], share: float) -> dict[str, float]:
    """Split the replay share over past sources, in proportion to consumed tokens, replayed tokens included.

    For more than two data sets this rule is derived from the authors' configurations.

    Args:
        consumed: consumed tokens by source.
        share: share of all replayed rows together.

    Raises:
        UserError: if nothing was consumed.
    """
    total = sum(consumed.values())
    if total == 0:
        raise UserError(f"replay share: {share} but nothing was trained before this stage; set it to 0 or drop replay")
    return {source: share * tokens / total for source, tokens in consumed.items()}


def apportion(total: int, sizes: Mapping[str, int]) -> dict[str, int]:
    """Divide `total` into whole numbers in proportion to sizes, by largest remainder.

    Args:
        total: sum of the numbers.
        sizes: sizes by name; returned unchanged if their sum is at most `total`.
    """
    whole = sum(sizes.values())
    if whole <= total:
        return dict(sizes)
    found = {name: total * size // whole for name, size in sizes.items()}
    by_remainder = sorted(sizes, key=lambda name: (-(total * sizes[name] % whole), name))
    return found | {name: found[name] + 1 for name in by_remainder[: total - sum(found.values())]}


def reservoir(available: int, kept: int, seed: int) -> Ints:
    """Return the positions of the items that a buffer holds after a stream of items.

    Each item gets a random key, and the items with the smallest keys stay: a uniform choice as in reservoir sampling
    (Vitter's R). As the stream grows, a dropped item never comes back.

    Args:
        available: number of items so far.
        kept: size of the buffer.
        seed: seed of the keys.

    Returns:
        Positions [min(kept, available)].
    """
    keys = np.random.Philox(np.random.SeedSequence([seed, BUFFER])).random_raw(available)
    return np.argsort(keys, kind="stable")[:kept]


def row_order(rows: int, seed: int | None, positions: npt.ArrayLike) -> Ints:
    """Return the row that is read at each position; every epoch has its own permutation of the rows.

    The permutation of epoch e is the stable argsort of raw 64-bit Philox numbers keyed by (seed, e), which NumPy
    guarantees to stay the same between versions.

    Args:
        rows: number of rows.
        seed: seed of the reading order. None: rows are read as they are stored.
        positions: positions from 0; position p is in epoch p // rows.

    Returns:
        Row numbers, in the shape of `positions`.
    """
    epochs, places = np.divmod(np.asarray(positions, dtype=np.int64), rows)
    if seed is None:
        return places
    out = np.empty_like(places)
    for epoch in np.unique(epochs):
        keys = np.random.Philox(np.random.SeedSequence([seed, int(epoch)])).random_raw(rows)
        at = epochs == epoch
        out[at] = np.argsort(keys, kind="stable")[places[at]]
    return out


def reading_seed(seed: int, source: str) -> int:
    """Seed of a source's reading order, from the seed and the source: equal sizes must not share a permutation."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{source}".encode()).digest()[:8])


@dataclass(frozen=True)
class Reading:
    """How a share reads its source; `str()` returns the share key, `parse` reads it.

    Args:
        source: name of the source.
        replay: read trained rows instead of fresh rows.
        max_epochs: how often one stage may replay all trained rows.
        reshuffle: seed of a new order of the replayed rows; None: the order of training.
        buffer: number of trained rows that were kept, which may be read any number of times; None: all.
    """

    source: str
    replay: bool = False
    max_epochs: float = 1.0
    reshuffle: int | None = None
    buffer: int | None = None

    @property
    def beside(self) -> bool:
        """Whether the rows are not the stage's own task: replayed rows, or a view of a general set that is mixed in."""
        return self.replay or self.source.partition(":")[0] in VIEWS

    def __str__(self) -> str:
        options = [f"max_epochs={self.max_epochs:.12g}"] if self.max_epochs != 1 else []  # 2 and 2.0 give the same key
        options += [f"reshuffle={self.reshuffle}"] if self.reshuffle is not None else []
        options += [f"buffer={self.buffer}"] if self.buffer is not None else []
        text = "&".join(options)
        return (REPLAY if self.replay else "") + self.source + (f"?{text}" if text else "")

    @staticmethod
    def parse(key: str) -> Reading:
        """Inverse of `str()`. Raises UserError for an unknown option."""
        if not key.startswith(REPLAY):
            return Reading(key)
        source, _, text = key.removeprefix(REPLAY).partition("?")
        options = dict(option.split("=", 1) for option in text.split("&")) if text else {}
        if unknown := options.keys() - {"max_epochs", "reshuffle", "buffer"}:
            raise UserError(f"share {key!r}: unknown option {sorted(unknown)}; use max_epochs, reshuffle or buffer")
        seed, buffer = (int(options[name]) if name in options else None for name in ("reshuffle", "buffer"))
        return Reading(source, True, float(options.get("max_epochs", 1.0)), seed, buffer)
