"""Dataset decomposition: documents in pieces of powers of two tokens, and steps that read pieces of one length.

Source: 2405.13226 and its code (`get_binary` in make_dd_buckets.py; the curriculum as the README and get_dd_params.py
state it). A piece of 2^k inputs holds 2^k + 1 ids; the next piece of the document begins behind its last id, so the
last id of a piece is a target and never an input.

Deviations: what is drawn are raw Philox numbers, which do not change between versions of NumPy; pieces that fill no
whole step of their length are dropped, where the code chooses numbers of shards that divide.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


def divide(length: int, shortest: int, longest: int, draws: Iterator[int] | None) -> list[int]:
    """Exponents k of the pieces of one document, in order: each piece takes 2^k + 1 ids.

    Args:
        length: ids of the document.
        shortest: smallest exponent; a rest that is shorter is dropped.
        longest: largest exponent.
        draws: whole numbers at random, by which a rest that is longer than the longest piece is cut at k with
            probability proportional to 2^(k - shortest). None: at the longest piece.
    """
    found = []
    while length > 1 and (k := (length - 1).bit_length() - 1) >= shortest:
        if k > longest:
            whole = 2 ** (longest - shortest + 1) - 1
            k = longest if draws is None else shortest + (next(draws) % whole + 1).bit_length() - 1
        found.append(k)
        length -= 2**k + 1
    return found


def pieces(edges: Ints, shortest: int, longest: int, draws: Iterator[int] | None = None) -> dict[int, Ints]:
    """First ids of the pieces of all documents, by exponent.

    Args:
        edges: first id of each document, and the last id of all [documents+1]. The first id of the next document is
            also the last one of a document, as a target.
        shortest: smallest exponent.
        longest: largest exponent.
        draws: see `divide`.
    """
    found: dict[int, list[int]] = {k: [] for k in range(shortest, longest + 1)}
    for start, end in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        for k in divide(end - start + 1, shortest, longest, draws):
            found[k].append(start)
            start += 2**k + 1
    return {k: np.array(starts, dtype=np.int64) for k, starts in found.items()}


def curriculum(steps: Mapping[int, int], cycles: int, odds: float, draws: Iterator[int]) -> list[int]:
    """Exponent of each step. Every cycle reads an equal part of the steps of each exponent.

    The next step of a cycle is of exponent k with probability proportional to the tokens of k that are left in the
    cycle, times odds^(longest - k). All steps have equally many tokens.

    Args:
        steps: number of steps of each exponent.
        cycles: number of cycles.
        odds: odds of a length against twice the length: 2 reads short pieces first (the paper's `Grow-P2`), 1 mixes
            evenly, less than 1 reads long pieces first.
        draws: whole numbers below 2^64 at random.
    """
    found: list[int] = []
    for cycle in range(cycles):
        left = {k: n * (cycle + 1) // cycles - n * cycle // cycles for k, n in steps.items()}
        for _ in range(sum(left.values())):
            weights = [n * odds ** (max(steps) - k) for k, n in left.items()]
            *sums, whole = accumulate(weights)
            at = next(draws) / 2**64 * whole
            k = next(k for k, until in zip(left, [*sums, float("inf")], strict=True) if left[k] and at < until)
            left[k] -= 1
            found.append(k)
    return found


def in_steps(found: Mapping[int, Ints], order: Sequence[int], rows: int, longest: int) -> tuple[Ints, Ints]:
    """The pieces in the order in which they are read.

    Args:
        found: first ids of the pieces, by exponent, each in its own order.
        order: exponent of each step.
        rows: rows per step; each is filled by 2^(longest - k) pieces.
        longest: exponent of a row's number of tokens.

    Returns:
        First id of each piece, and the number of tokens of the pieces of each row [steps * rows].
    """
    taken = dict.fromkeys(found, 0)
    starts: list[Ints] = []
    for k in order:
        count = rows * 2 ** (longest - k)
        starts.append(found[k][taken[k] : taken[k] + count])
        taken[k] += count
    lengths = np.repeat([2**k for k in order], rows).astype(np.int64)
    return np.concatenate([*starts, np.zeros(0, np.int64)]), lengths
