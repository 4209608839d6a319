"""How much of the text of one set occurs in another: shingles of words, compared by 64-bit hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Hashes = npt.NDArray[np.uint64]

SHINGLE = 8  # words: long enough that ordinary phrases do not count as overlap
OVERLAP_BYTES = 50_000_000  # searched in the training split, which bounds the time to some seconds
PIECE = 10_000  # words whose shingles are computed at once
BASE = 6364136223846793005
"""Odd, so that it has an inverse modulo 2^64, and of the largest order (Knuth, MMIX)."""


def overlap(train: Iterable[str], test: Iterable[str]) -> float | None:
    """Share of the distinct 8-word shingles of `test` that also occur in `train`.

    Only the first 50 MB of `train` are searched; for a larger `train` the share is a lower bound. Memory holds 8 bytes
    for a word of `test`. Two of ten million shingles have one hash with a chance of 3 in a million.

    Args:
        train: training texts.
        test: test texts.

    Returns:
        The share, or None if `train` is empty or `test` has no shingle.
    """
    import numpy as np

    hashes = [each for text in test for each in _shingles(text)]
    wanted = np.unique(np.concatenate(hashes)) if hashes else np.zeros(0, np.uint64)
    found = np.zeros(len(wanted), np.bool_)
    searched = 0
    for text in train:
        for each in _shingles(text) if len(wanted) else ():
            places = np.minimum(np.searchsorted(wanted, each), len(wanted) - 1)
            found[places[wanted[places] == each]] = True
        searched += len(text.encode())
        if searched > OVERLAP_BYTES:
            break
    return int(found.sum()) / len(wanted) if len(wanted) and searched else None


def _shingles(text: str) -> Iterator[Hashes]:
    """Hashes of the shingles of a text, piece by piece."""
    words = text.casefold().split()
    for start in range(0, len(words) - SHINGLE + 1, PIECE):
        yield _hashes(" ".join(words[start : start + PIECE + SHINGLE - 1]).encode())


def _hashes(content: bytes) -> Hashes:
    """Hash of each 8 consecutive words of UTF-8 text in which one blank stands between words.

    The hash of the bytes s to e is the sum of T[b_j] B^(j-s) modulo 2^64: a difference of two prefix sums, multiplied
    by the inverse of B^s.
    """
    import numpy as np

    table, powers, inverses = _tables(1 << (len(content) - 1).bit_length())
    read = np.frombuffer(content, np.uint8)
    blanks = np.flatnonzero(read == ord(" "))
    starts, ends = np.concatenate([[0], blanks + 1]), np.concatenate([blanks, [len(content)]])
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(table[read] * powers[: len(content)])])
    first = starts[: len(starts) - SHINGLE + 1]
    found: Hashes = (sums[ends[SHINGLE - 1 :]] - sums[first]) * inverses[first]
    return found


@cache
def _tables(length: int) -> tuple[Hashes, Hashes, Hashes]:
    """A random number for each byte, and the powers of the base and of its inverse up to a length."""
    import numpy as np

    digests = b"".join(hashlib.blake2b(bytes([byte]), digest_size=8).digest() for byte in range(256))
    bases = [np.full(length, base, np.uint64) for base in (BASE, pow(BASE, -1, 2**64))]
    for each in bases:
        each[0] = 1
    powers, inverses = map(np.cumprod, bases)
    return np.frombuffer(digests, "<u8").astype(np.uint64), powers, inverses
