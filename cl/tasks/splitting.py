"""De-duplicate, cap and split documents by the hash of their text: pure functions.

The split of a document depends only on its normalised text (casefolded, each run of white space as one blank), the
seed and the shares. So a document lands in the same split wherever it occurs, and a larger limit keeps every document
of a smaller limit. The text of an `Example` is its question: no question is in both training and test, whatever its
answers. If a benchmark states its own splits, they are kept; if it has no validation split, one is taken from its
training. A question that any source of any set states as test is dropped from all training and validation, and one
stated as validation from all training: the report counts them (`held_out`).

Articles are all studied; their questions are measured, and count as stated for test in every other set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from cl.tasks.article import Article, asked_once
from cl.tasks.example import Example
from cl.tasks.passage import Passage

Document = str | Example | Passage | Article

ORDER = ("test", "validation", "train")
"""Splits; a question that is stated for one is in none of those after it."""
SHINGLE = 8  # words: long enough that ordinary phrases do not count as overlap
OVERLAP_BYTES = 50_000_000  # searched in the training split, which bounds the time to some seconds


@dataclass(frozen=True)
class Shares:
    """The rule that splits documents.

    Args:
        validation: share of the documents in the validation split.
        test: share of the documents in the test split.
        seed: seed of the hash that decides.
    """

    validation: float
    test: float
    seed: int


@dataclass(frozen=True)
class Report:
    """Counts of documents after splitting.

    Args:
        seen: documents read, including the dropped training documents of a retain set.
        empty: documents without text.
        duplicates: documents whose text occurred before.
        documents: documents kept, by split.
        bytes: bytes kept, by split.
        overlap: share of the test split's distinct 8-word shingles that also occur in the training split; None if
            either split has none.
        held_out: documents dropped because a source of this or another set states their question as test or validation.
    """

    seen: int
    empty: int
    duplicates: int
    documents: dict[str, int]
    bytes: dict[str, int]
    overlap: float | None
    held_out: int = 0


@dataclass(frozen=True)
class Splits:
    """Documents by split, each split in a shuffled order that the seed fixes, and the report."""

    train: list[Document]
    validation: list[Document]
    test: list[Document]
    report: Report


class Ranked(NamedTuple):
    """A document with its rank in the shuffled order, its split and its size in bytes of UTF-8."""

    rank: bytes
    split: str
    size: int
    document: Document


def split_texts(
    streams: Iterable[tuple[Iterable[Document], int | None]],
    shares: Shares,
    limit: int | None,
    measured_only: bool,
    elsewhere: Mapping[str, str] | None = None,
) -> Splits:
    """De-duplicate, cap and split the documents of several streams.

    Args:
        streams: documents of each source with its own limit in bytes (None: no limit).
        shares: the rule that splits documents.
        limit: limit of all streams together, in bytes (None: no limit).
        measured_only: make no training split; its documents are dropped before limits count.
        elsewhere: stated splits of other sets' questions, see `stated`.
    """
    known: set[bytes] = set()
    kept: list[Ranked] = []
    seen = empty = duplicates = held_out = 0
    read = [(list(documents), own_limit) for documents, own_limit in streams]
    held = strictest([elsewhere or {}, stated(document for documents, _ in read for document in documents)])
    for documents, own_limit in read:
        fresh: list[Ranked] = []
        for document, split in _placed(documents, shares):
            seen += 1
            words = text_of(document).casefold().split()
            ranked = _rank(document, words, shares, split)
            if not words:
                empty += 1
            elif ORDER.index(held.get(" ".join(words), "train")) < ORDER.index(ranked.split):
                held_out += 1
                continue
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
    report = Report(seen, empty, duplicates, counts, sizes, shared, held_out)
    return Splits(found["train"], found["validation"], found["test"], report)


def text_of(document: Document) -> str:
    """Return the text by which documents are compared: of an example, all turns before its answer."""
    return document if isinstance(document, str) else document.text


def stated(documents: Iterable[Document]) -> dict[str, str]:
    """Split of each question that a benchmark states as test or validation; test where both are stated.

    Args:
        documents: documents of any sources.

    Returns:
        Split by normalised question.
    """
    return strictest({text: split} for document in documents for text, split in _held(document))


def _held(document: Document) -> Iterator[tuple[str, str]]:
    """Normalised questions that a document keeps out of training, with their split."""
    if isinstance(document, Example) and document.split in ("validation", "test"):
        yield normal(document), str(document.split)
    if isinstance(document, Article):
        yield from ((normal(question), "test") for question in document.questions)


def studied(splits: Splits, measured_only: bool) -> Splits:
    """The splits of a task of kind `reading`: all documents to train on, and the questions to measure.

    Args:
        splits: articles as the hash of their documents splits them.
        measured_only: nothing is trained on, so the documents are only those that are not for training.

    Returns:
        Articles, and as validation and test split the questions of those that the hash put into validation, and of all
        others. A question that is asked twice is kept once and counted as a duplicate.
    """
    parts = [splits.validation, [*splits.test, *splits.train]]
    every = [article for part in parts for article in part if isinstance(article, Article)]
    kept, count = asked_once(every), len(splits.validation)
    validation, test = ([question for each in part for question in each] for part in (kept[:count], kept[count:]))
    found: dict[str, list[Document]]
    found = {"train": [] if measured_only else [*every], "validation": [*validation], "test": [*test]}
    again = sum(len(article.questions) for article in every) - len(validation) - len(test)
    report = replace(
        splits.report,
        duplicates=splits.report.duplicates + again,
        documents={name: len(part) for name, part in found.items()},
        bytes={name: sum(len(str(one).encode()) for one in part) for name, part in found.items()},
        overlap=None,
    )
    return Splits(found["train"], found["validation"], found["test"], report)


def strictest(found: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Join stated splits of several sources: a question that one states as test is held back as test."""
    joined: dict[str, str] = {}
    for splits in found:
        for text, split in splits.items():
            joined[text] = min(split, joined.get(text, "train"), key=ORDER.index)
    return joined


def normal(document: Document) -> str:
    """Return the normalised text that decides a document's split."""
    return " ".join(text_of(document).casefold().split())


def _placed(documents: Iterable[Document], shares: Shares) -> Iterator[tuple[Document, str | None]]:
    """Each document with the split of its benchmark; None: decided by the hash.

    Test examples come first, so that the test example of two equal examples is kept.
    """
    examples: list[Example] = []
    for document in documents:
        if isinstance(document, Example) and document.split is not None:
            examples.append(document)
        else:
            yield document, None
    validated = any(example.split == "validation" for example in examples)
    for example in sorted(examples, key=lambda example: ORDER.index(str(example.split))):
        chance = _chance(_digest(example.start.casefold().split(), shares))
        carve = example.split == "train" and not validated and chance < shares.validation
        yield example, "validation" if carve else example.split


def _chance(digest: bytes) -> float:
    """A number in [0, 1) from the first 8 bytes of a hash."""
    return int.from_bytes(digest[:8]) / 2**64


def overlap(train: Iterable[str], test: Iterable[str]) -> float | None:
    """Share of the distinct 8-word shingles of `test` that also occur in `train`.

    Only the first 50 MB of `train` are searched; for a larger `train` the share is a lower bound.

    Args:
        train: training texts.
        test: test texts.

    Returns:
        The share, or None if `train` is empty or `test` has no shingle.
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
    """Decide a document's split by 8 bytes of its hash, unless `split` is given, and its rank by the other 16 bytes."""
    digest = own = _digest(words, shares)
    if isinstance(document, Example) and document.history:  # all rows of a dialogue are in one split
        own = _digest(document.start.casefold().split(), shares)
    share = _chance(own)
    name = "test" if share < shares.test else "validation" if share < shares.test + shares.validation else "train"
    return Ranked(digest[8:], split or name, len(str(document).encode()), document)


def _digest(words: list[str], shares: Shares) -> bytes:
    key = shares.seed.to_bytes(16, "big")
    return hashlib.blake2b(" ".join(words).encode(), key=key, digest_size=24).digest()


def _capped(documents: list[Ranked], limit: int | None) -> list[Ranked]:
    """The documents in shuffled order, up to the first document that would exceed `limit` bytes."""
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
