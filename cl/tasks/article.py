"""An article: a document to read, with questions about it that are asked without it. Tasks of kind `reading` hold them.

The documents are trained on, one row each; the questions are measured alone (closed book). So the split of a task of
kind `reading` differs from all others: every document is studied, the hash of a document decides whether its questions
are validation or test questions, and no question is in any training split.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cl.errors import UserError
from cl.tasks.example import Example


@dataclass(frozen=True)
class Article:
    """A document with the questions about it.

    Args:
        text: the document.
        questions: questions with answers that the document gives.
        learned: spans of the document that are learned, as first and last character; None: all of it.

    Raises:
        UserError: for an empty document, one without questions, a question that is part of a dialogue or a preference,
            and a document that holds one of its questions with the answer, so that the question would be trained on.
    """

    text: str
    questions: tuple[Example, ...]
    learned: tuple[tuple[int, int], ...] | None = None

    def __post_init__(self) -> None:
        if not self.text.strip() or not self.questions:
            raise UserError(f"article: {self.text[:60]!r} is empty or has no questions")
        for asked in self.questions:
            if asked.history or asked.rejected:
                raise UserError(f"article: {asked.question[:60]!r} is part of a dialogue or a preference")
            if asked.question.strip() in self.text:
                raise UserError(f"article: the document of {asked.question[:60]!r} holds the question; remove it")

    def __str__(self) -> str:
        return self.text


def asked_once(articles: Iterable[Article]) -> list[list[Example]]:
    """The questions of each article, without those whose normalised text was asked before.

    Args:
        articles: articles, each with its questions.
    """
    known, found = set[str](), list[list[Example]]()
    for article in articles:
        found.append([])
        for question in article.questions:
            text = " ".join(question.text.casefold().split())
            if text not in known:
                found[-1].append(question)
            known.add(text)
    return found


def places(articles: Sequence[Article]) -> dict[str, int]:
    """Number of the article that each question is about, by the text of the question; see `asked_once`."""
    kept = asked_once(articles)
    return {question.text: place for place, several in enumerate(kept) for question in several}
