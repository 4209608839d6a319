"""Copyright traps: generated sequences that are accepted by quota of their perplexity, so that each level has as many.

Source: 2402.09363 and its code (`copyright-traps`): 20 sequences for each whole perplexity from 1 to 100, and a Jaccard
similarity of at most 0.2 with every sequence that is kept. What the similarity is of was not read; here it is of the
sets of tokens.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

OVERLAP = 0.2  # of 2402.09363


def jaccard(one: Iterable[int], other: Iterable[int]) -> float:
    """Size of the intersection of two sets over that of their union; 0 if both are empty."""
    first, second = set(one), set(other)
    return len(first & second) / len(first | second) if first or second else 0.0


@dataclass
class Quota:
    """Sequences that are kept so far.

    Args:
        each: sequences for each whole perplexity.
        lowest: smallest whole perplexity.
        highest: largest whole perplexity.
        kept: ids of the sequences that are kept, by their perplexity rounded down.
    """

    each: int
    lowest: int
    highest: int
    kept: dict[int, list[tuple[int, ...]]] = field(default_factory=dict)

    def offer(self, ids: Sequence[int], perplexity: float) -> bool:
        """Keep a sequence if its perplexity has room and it resembles none that is kept; whether it was kept."""
        level = int(min(perplexity, self.highest + 1))
        others = (other for kept in self.kept.values() for other in kept)
        if level not in self.lacking or any(jaccard(ids, other) > OVERLAP for other in others):
            return False
        self.kept.setdefault(level, []).append(tuple(ids))
        return True

    @property
    def lacking(self) -> list[int]:
        """Perplexities that have room."""
        return [level for level in range(self.lowest, self.highest + 1) if len(self.kept.get(level, ())) < self.each]
