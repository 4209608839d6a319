"""De-duplicating, capping and splitting documents by the hash of their text: pure functions.

What happens to a document depends on nothing but its own normalised text (casefolded, each run of white space
as one blank), the seed and the shares. So a document lands in the same split wherever it occurs, and a larger
limit keeps every document of a smaller one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

SHINGLE = 8  # words: long enough that ordinary phrases do not count as overlap
OVERLAP_BYTES = 50_000_000  # of the training split are searched at most, which bounds the time to some seconds


@dataclass(frozen=True)
class Shares:
    """Shares of the documents that validation and test get, and the seed of the hash that decides."""

    validation: float
    test: float
    seed: int


@dataclass(frozen=True)
class Report:
    """What became of the documents.

    seen: read (a retain set's training documents too); empty: without text; duplicates: an equal text came
    before; documents and bytes: by split; overlap: share of the test split's distinct 8-word shingles that
    also occur in the training split, None where there is nothing to compare.
    """

    seen: int
    empty: int
    duplicates: int
    documents: dict[str, int]
    bytes: dict[str, int]
    overlap: float | None


@dataclass(frozen=True)
class Splits:
    """Documents by split, each in a shuffled order that the seed fixes."""

    train: list[str]
    validation: list[str]
    test: list[str]
    report: Report


class Ranked(NamedTuple):
    """A document with its place in the shuffled order, its split and its size in bytes of UTF-8."""

    rank: bytes
    split: str
    size: int
    text: str


def split_texts(
    streams: Iterable[tuple[Iterable[str], int | None]], shares: Shares, limit: int | None, measured_only: bool
) -> Splits:
    """Split the documents of several streams, each capped at its own number of bytes and all together at `limit`.

    measured_only: there is no training split; documents that belong there are dropped before any limit counts.
    """
    known: set[bytes] = set()
    kept: list[Ranked] = []
    seen = empty = duplicates = 0
    for texts, own_limit in streams:
        fresh: list[Ranked] = []
        for text in texts:
            seen += 1
            words = text.casefold().split()
            ranked = _rank(text, words, shares)
            if not words:
                empty += 1
            elif ranked.rank in known:
                duplicates += 1
            elif not (measured_only and ranked.split == "train"):
                fresh.append(ranked)
            known.add(ranked.rank)
        kept += _capped(fresh, own_limit)
    parts: dict[str, list[Ranked]] = {"train": [], "validation": [], "test": []}
    for ranked in _capped(kept, limit):
        parts[ranked.split].append(ranked)
    split = {name: [ranked.text for ranked in part] for name, part in parts.items()}
    documents = {name: len(part) for name, part in parts.items()}
    sizes = {name: sum(ranked.size for ranked in part) for name, part in parts.items()}
    report = Report(seen, empty, duplicates, documents, sizes, overlap(split["train"], split["test"]))
    return Splits(split["train"], split["validation"], split["test"], report)


def overlap(train: list[str], test: list[str]) -> float | None:
    """Share of the distinct 8-word shingles of `test` that also occur in `train`; None where either has none.

    Only the first 50 MB of `train` are searched: beyond that the share is a lower bound.
    """
    wanted = {shingle for text in test for shingle in _shingles(text)}
    found: set[tuple[str, ...]] = set()
    searched = 0
    for text in train:
        found |= wanted.intersection(_shingles(text))
        searched += len(text.encode())
        if searched > OVERLAP_BYTES:
            break
    return len(found) / len(wanted) if wanted and train else None


def _rank(text: str, words: list[str], shares: Shares) -> Ranked:
    """Decide a document's split by 8 bytes of its hash and its place in the order by 16 others."""
    key = shares.seed.to_bytes(16, "big")
    digest = hashlib.blake2b(" ".join(words).encode(), key=key, digest_size=24).digest()
    share = int.from_bytes(digest[:8], "big") / 2**64
    name = "test" if share < shares.test else "validation" if share < shares.test + shares.validation else "train"
    return Ranked(digest[8:], name, len(text.encode()), text)


def _capped(documents: list[Ranked], limit: int | None) -> list[Ranked]:
    """The documents in shuffled order, up to the first that would exceed `limit` bytes."""
    total = 0
    kept = []
    for ranked in sorted(documents):
        total += ranked.size
        if limit is not None and total > limit:
            break
        kept.append(ranked)
    return kept


def _shingles(text: str) -> Iterator[tuple[str, ...]]:
    words = text.casefold().split()
    return zip(*(words[start:] for start in range(SHINGLE)), strict=False)
