"""Public sets of documents with questions, from the user's files: SQuAD, StreamingQA and ArchivalQA.

| set           | files                                                 | columns                              |
|---------------|-------------------------------------------------------|--------------------------------------|
| `squad`       | `train-v1.1.json`, `dev-v1.1.json`, or the hub's rows | context, question, answers {text: …} |
| `streamingqa` | CSV of CaMeLS' preparation                            | text, question, answers              |
| `archivalqa`  | CSV of CaMeLS' preparation                            | ans_paragraph, question, answer      |

Answers of StreamingQA are parted by backslashes. Columns and the choice of answers are those of the code of CaMeLS and
MAC (read): the shortest answer is the reference, with a capital first letter for SQuAD and ArchivalQA. Deviations: the
other answers are accepted as well; documents come in the file's order, and the reading order of a run is drawn from its
seed. None of the files ships with `cl`.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

from cl.errors import UserError
from cl.tasks.article import Article
from cl.tasks.documents import Document
from cl.tasks.example import Example
from scenarios.sources import tables
from scenarios.sources.files import Files, content_hash
from scenarios.sources.reading import Form, in_form, require_form

Set = Literal["squad", "streamingqa", "archivalqa"]
SQUAD_PARTS = {
    "qa_tune": (0, 40006),
    "qa_validation": (40006, 42118),
    "meta_train": (42118, 82011),
    "meta_validation": (82011, 87599),
}
"""Ranges of the questions of SQuAD's training file in CaMeLS' configuration; the validation file is the test set."""
LARGEST_FIELD = 10_000_000  # characters of a field of a CSV file


class Asked(NamedTuple):
    """A row of a set: a document, a question about it and its answers; no answers where the document has none."""

    document: str
    question: str
    answers: list[str]


class QuestionSets:
    """Articles of a public set, or questions about them.

    A document belongs to the range in which its first question lies, so ranges that do not overlap share no document.
    Questions that the document does not answer (SQuAD 2.0) are left out.

    Args:
        of: `squad`, `streamingqa` or `archivalqa`, which says how files are read.
        path: file, folder or glob of the set's files, relative to `folder`.
        form: `articles`, `questions` or `open_book`, see `scenarios.sources.reading`.
        part: of `squad`: `qa_tune`, `qa_validation`, `meta_train` or `meta_validation`; None: see `first`, `last`.
        first: number of the first question, counted from 0.
        last: number of the question after the last one; None: to the end.
        licence: licence, in one line.
        folder: folder of the scenario's file.

    Raises:
        UserError: for an unknown set, form or part, a range without questions, and with file and line for a row that
            lacks a column.
    """

    def __init__(
        self,
        of: Set,
        path: str,
        form: Form,
        part: str | None = None,
        first: int = 0,
        last: int | None = None,
        licence: str = "not stated",
        folder: str = ".",
    ) -> None:
        require_form(form)
        if of not in get_args(Set):
            raise UserError(f"of: {of!r} is none of {', '.join(get_args(Set))}")
        if part is not None and (of != "squad" or part not in SQUAD_PARTS or (first, last) != (0, None)):
            raise UserError(f"part: {part!r} is one of {', '.join(SQUAD_PARTS)} of squad, without first and last")
        self.range = SQUAD_PARTS[part] if part else (first, last)
        if first < 0 or (last is not None and last <= first):
            raise UserError(f"first, last: {first}, {last} are no range of questions")
        self.set, self.form, self.licence = of, form, licence
        self.files = Files(path, folder=folder)
        self.about = f"{of} as {form}, questions {self.range[0]} to {self.range[1] or 'the end'}, from {path}"
        self.states_splits = form == "articles"

    def documents(self) -> Iterator[Document]:
        """Yield the articles or the questions."""
        return in_form(self._articles(), self.form)

    def fingerprint(self) -> str:
        """Hash of the files, and the settings."""
        return f"{content_hash(self.files.files())} {self.set} {self.form} {list(self.range)}"

    def _articles(self) -> Iterator[Article]:
        asked: dict[str, list[Asked]] = {}
        starts: dict[str, int] = {}
        rows = (row for path in self.files.files() for row in READERS[self.set](path))
        for number, row in enumerate(rows):
            starts.setdefault(row.document, number)
            asked.setdefault(row.document, []).append(row)
        first, last = self.range
        inside = [text for text, start in starts.items() if start >= first and (last is None or start < last)]
        if not inside:
            raise UserError(
                f"first, last: {self.set} has {sum(map(len, asked.values()))} questions, none of them there"
            )
        for text in inside:
            questions = tuple(_example(row, self.set) for row in asked[text] if row.answers)
            if questions:
                yield Article(text, questions)


def _example(row: Asked, of: Set) -> Example:
    """The shortest answer as reference, the others accepted."""
    answers = sorted(dict.fromkeys(each.strip() for each in row.answers), key=len)
    if of != "streamingqa":
        answers = [each[:1].upper() + each[1:] for each in answers]
    return Example(row.question.strip(), answers[0], "phrase", accepted=tuple(answers[1:]))


def _squad(path: Path) -> Iterator[Asked]:
    """Rows of SQuAD: the published file with articles and paragraphs, or the hub's table of questions."""
    content = json.loads(tables.text(path)) if tables.kind(path) == ".json" else None
    if isinstance(content, dict) and "data" in content:
        try:
            paragraphs = [each for article in content["data"] for each in article["paragraphs"]]
            yield from [
                Asked(each["context"], asked["question"], [answer["text"] for answer in asked["answers"]])
                for each in paragraphs
                for asked in each["qas"]
            ]
        except (KeyError, TypeError) as error:
            raise UserError(f"path: {path} is not in SQuAD's form: {error!r}; give the published file") from error
        return
    for where, row in tables.rows(path):
        answers = row.get("answers")
        if not isinstance(answers, dict) or not isinstance(answers.get("text"), list):
            raise UserError(f"{where}: answers holds {answers!r}, and no texts of answers")
        document, question = (tables.checked(row.get(name), name, row, where) for name in ("context", "question"))
        yield Asked(document, question, answers["text"])


def _streamingqa(path: Path) -> Iterator[Asked]:
    for document, question, answers in _columns(path, ("text", "question", "answers")):
        yield Asked(document, question, answers.split("\\"))


def _archivalqa(path: Path) -> Iterator[Asked]:
    for document, question, answer in _columns(path, ("ans_paragraph", "question", "answer")):
        yield Asked(document, question, [answer])


def _columns(path: Path, names: tuple[str, str, str]) -> Iterator[list[str]]:
    """Columns of each row of a CSV file or of a table."""
    rows: Iterator[tuple[str, dict[str, Any]]]
    if tables.kind(path) in tables.TABLES:
        rows = tables.rows(path, names)
    else:
        csv.field_size_limit(LARGEST_FIELD)
        lines = csv.DictReader(io.StringIO(tables.text(path)))
        rows = ((f"{path}, row {number}", row) for number, row in enumerate(lines, 1))
    for where, row in rows:
        yield [tables.checked(row.get(name), name, row, where) for name in names]


READERS: dict[Set, Callable[[Path], Iterator[Asked]]] = {
    "squad": _squad,
    "streamingqa": _streamingqa,
    "archivalqa": _archivalqa,
}
