"""De-duplicating, capping and splitting documents by the hash of their text: pure functions.

What happens to a document depends on nothing but its own normalised text (casefolded, each run of white space
as one blank), the seed and the shares. So a document lands in the same split wherever it occurs, and a larger
limit keeps every document of a smaller one. Of an `Example` the question is the text: one question is never asked
in training and in the test, whatever its answers. Where a benchmark says itself what its test is, that holds, and
what is in its test is dropped from its training; a validation split that it lacks is carved out of its training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from cl.tasks.example import Example

Document = str | Example

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

    train: list[Document]
    validation: list[Document]
    test: list[Document]
    report: Report


class Ranked(NamedTuple):
    """A document with its place in the shuffled order, its split and its size in bytes of UTF-8."""

    rank: bytes
    split: str
    size: int
    document: Document


def split_texts(
    streams: Iterable[tuple[Iterable[Document], int | None]], shares: Shares, limit: int | None, measured_only: bool
) -> Splits:
    """Split the documents of several streams, each capped at its own number of bytes and all together at `limit`.

    measured_only: there is no training split; documents that belong there are dropped before any limit counts.
    """
    known: set[bytes] = set()
    kept: list[Ranked] = []
    seen = empty = duplicates = 0
    for documents, own_limit in streams:
        fresh: list[Ranked] = []
        for document, split in _placed(documents, shares):
            seen += 1
            words = text_of(document).casefold().split()
            ranked = _rank(document, words, shares, split)
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
    found = {name: [ranked.document for ranked in part] for name, part in parts.items()}
    counts = {name: len(part) for name, part in parts.items()}
    sizes = {name: sum(ranked.size for ranked in part) for name, part in parts.items()}
    shared = overlap(*(map(text_of, found[name]) for name in ("train", "test")))
    report = Report(seen, empty, duplicates, counts, sizes, shared)
    return Splits(found["train"], found["validation"], found["test"], report)


def text_of(document: Document) -> str:
    """What decides where a document belongs: its text, or the question of an example."""
    return document if isinstance(document, str) else document.question


def _placed(documents: Iterable[Document], shares: Shares) -> Iterator[tuple[Document, str | None]]:
    """Each document with the split that its benchmark gives it, None = ours to decide.

    Test documents come first, so that of two equal ones the test's is kept.
    """
    examples: list[Example] = []
    for document in documents:
        if isinstance(document, Example) and document.split is not None:
            examples.append(document)
        else:
            yield document, None
    validated = any(example.split == "validation" for example in examples)
    for example in sorted(examples, key=lambda example: ("test", "validation", "train").index(str(example.split))):
        chance = _chance(_digest(example.question.casefold().split(), shares))
        carve = example.split == "train" and not validated and chance < shares.validation
        yield example, "validation" if carve else example.split


def _chance(digest: bytes) -> float:
    """A number in [0, 1) from the first 8 bytes of a hash."""
    return int.from_bytes(digest[:8]) / 2**64


def overlap(train: Iterable[str], test: Iterable[str]) -> float | None:
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
    return len(found) / len(wanted) if wanted and searched else None


def _rank(document: Document, words: list[str], shares: Shares, split: str | None) -> Ranked:
    """Decide a document's split by 8 bytes of its hash, unless it is given, and its place in the order by 16 others."""
    digest = _digest(words, shares)
    share = _chance(digest)
    name = "test" if share < shares.test else "validation" if share < shares.test + shares.validation else "train"
    return Ranked(digest[8:], split or name, len(str(document).encode()), document)


def _digest(words: list[str], shares: Shares) -> bytes:
    key = shares.seed.to_bytes(16, "big")
    return hashlib.blake2b(" ".join(words).encode(), key=key, digest_size=24).digest()


def _capped(documents: list[Ranked], limit: int | None) -> list[Ranked]:
    """The documents in shuffled order, up to the first that would exceed `limit` bytes."""
    total = 0
    kept = []
    for ranked in sorted(documents, key=lambda ranked: ranked.rank):
        total += ranked.size
        if limit is not None and total > limit:
            break
        kept.append(ranked)
    return kept


def _shingles(text: str) -> Iterator[tuple[str, ...]]:
    words = text.casefold().split()
    return zip(*(words[start:] for start in range(SHINGLE)), strict=False)
