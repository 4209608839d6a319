"""De-duplicate, cap and split documents by the hash of their text.

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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cl.tasks.article import Article, asked_once
from cl.tasks.documents import Document, Spool
from cl.tasks.example import Example
from cl.tasks.overlap import overlap
from cl.tasks.placement import ORDER, RECORD, placed


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

    train: Sequence[Document]
    validation: Sequence[Document]
    test: Sequence[Document]
    report: Report


def split_texts(
    streams: Iterable[tuple[Iterable[Document], int | None]],
    shares: Shares,
    limit: int | None,
    measured_only: bool,
    elsewhere: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Splits:
    """De-duplicate, cap and split the documents of several streams.

    Documents are read once, one after another, and kept on disk; memory holds a short record of each.

    Args:
        streams: documents of each source with its own limit in bytes (None: no limit).
        shares: the rule that splits documents.
        limit: limit of all streams together, in bytes (None: no limit).
        measured_only: make no training split; its documents are dropped before limits count.
        elsewhere: stated splits of other sets' questions, see `stated`.
        folder: folder for the documents on disk; None: that of temporary files.
    """
    spool, records, sources = Spool(folder), bytearray(), list[tuple[int, int | None]]()
    held = {_digest(text.split(), shares)[8:]: split for text, split in (elsewhere or {}).items()}
    for documents, own_limit in streams:
        before = len(spool)
        for document in documents:
            for text, split in _held(document):
                rank = _digest(text.split(), shares)[8:]
                held[rank] = min(split, held.get(rank, "train"), key=ORDER.index)
            records += _record(document, shares)
            spool.add(document)
        sources.append((len(spool) - before, own_limit))
    found = placed(records, sources, limit, measured_only, held)
    parts = {name: spool.documents(numbers) for name, numbers in found.numbers.items()}
    counts = {name: len(part) for name, part in parts.items()}
    shared = overlap(*(map(text_of, parts[name]) for name in ("train", "test")))
    report = Report(len(spool), found.empty, found.duplicates, counts, found.bytes, shared, found.held_out)
    return Splits(parts["train"], parts["validation"], parts["test"], report)


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


def _chance(digest: bytes) -> float:
    """A number in [0, 1) from the first 8 bytes of a hash."""
    return int.from_bytes(digest[:8]) / 2**64


def _record(document: Document, shares: Shares) -> bytes:
    """What decides a document's place, see `cl.tasks.placement`.

    The first 8 bytes of its hash decide its split, unless the document states it, and the other 16 its rank.
    """
    words = text_of(document).casefold().split()
    digest = own = _digest(words, shares)
    if isinstance(document, Example) and document.history:  # all rows of a dialogue are in one split
        own = _digest(document.start.casefold().split(), shares)
    chance = _chance(own)
    name = "test" if chance < shares.test else "validation" if chance < shares.test + shares.validation else "train"
    stated = document.split if isinstance(document, Example) else None
    split = ORDER.index(stated or name)
    size = len(str(document).encode())
    return RECORD.pack(digest[8:], size, split, stated is not None, chance < shares.validation, not words)


def _digest(words: list[str], shares: Shares) -> bytes:
    key = shares.seed.to_bytes(16, "big")
    return hashlib.blake2b(" ".join(words).encode(), key=key, digest_size=24).digest()
