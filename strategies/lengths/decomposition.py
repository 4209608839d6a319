"""Dataset decomposition: train on pieces of documents, short ones first, every step on one length.

Pouransari et al. 2024, arXiv 2405.13226, and its code. A document is cut into pieces of 2^k tokens; no row joins two
documents, and every optimizer step reads as many tokens. In each cycle short pieces are likelier at first.

The paper trains from scratch on one stream. Here every task of the stream is decomposed for itself; its cycles are no
tasks. Steps that also read another source (replay) hold rows of several lengths.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from cl.data.decomposition import curriculum, in_steps, pieces
from cl.errors import UserError
from cl.methods.cuts_rows import Cut, CutsRows, Text

BLOCK = 4096  # random numbers drawn at once


@dataclass(eq=False)
class Decomposition(CutsRows):
    """Cuts text into pieces of powers of two tokens.

    Args:
        shortest: tokens of the shortest piece, a power of two. The paper's is 256 of 8,192; what is left of a document
            below it is dropped and counted, a bias against short texts.
        cycles: parts of the stream that each go from short to long. The paper's is 8.
        odds: odds of a length against twice the length, at the start of a cycle: 2 is the paper's `Grow-P2`, 1 no
            curriculum.
        above: how a document is cut that is longer than a row: `random` lengths, as in the code, or `longest` first.
        seed: of cuts and order; equal in all runs.
    """

    shortest: int = 64
    cycles: int = 8
    odds: float = 2.0
    above: str = "random"
    seed: int = 0

    def __post_init__(self) -> None:
        if self.shortest < 1 or self.shortest & (self.shortest - 1):
            raise UserError(f"shortest: {self.shortest} is no power of two; give one, such as 64")
        if self.cycles < 1:
            raise UserError(f"cycles: {self.cycles} must be at least 1")
        if not 0 < self.odds < 1e6:
            raise UserError(f"odds: {self.odds} must be positive; 1 is no curriculum")
        if self.above not in ("random", "longest"):
            raise UserError(f"above: {self.above!r} is neither random nor longest")

    def fits_shape(self, sequence: int, batch: int) -> None:
        """The longest piece is a row, so a row is a power of two, and no shorter than the shortest piece."""
        if sequence & (sequence - 1) or sequence < self.shortest:
            raise UserError(
                f"train.sequence: {sequence} must be a power of two from shortest = {self.shortest} on to cut text "
                "into pieces; give another"
            )

    def cut(self, text: Text) -> Cut:
        """Pieces of the documents in the order of the curriculum; those that fill no step are dropped."""
        shortest, longest = (int(math.log2(size)) for size in (self.shortest, text.sequence))
        draws = _draws(self.seed)
        found = pieces(text.edges, shortest, longest, draws if self.above == "random" else None)
        found = {k: starts[np.argsort([next(draws) for _ in starts], kind="stable")] for k, starts in found.items()}
        steps = {k: len(starts) // (text.batch * 2 ** (longest - k)) for k, starts in found.items()}
        order = curriculum(steps, self.cycles, self.odds, draws)
        return Cut(*in_steps(found, order, text.batch, longest))


def _draws(seed: int) -> Iterator[int]:
    """Whole numbers below 2^64 at random, equal in all versions of NumPy."""
    generator = np.random.Philox(np.random.SeedSequence(seed))
    for _ in count():
        yield from generator.random_raw(BLOCK).tolist()
