"""Salient spans: of a document, learn names and numbers alone. A bound of online adaptation (CaMeLS, MAC 2403.04317).

The idea is salient span masking (Guu et al. 2020, 2002.08909), which masks named entities and dates. For a model that
reads from left to right, only the loss of their tokens counts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from cl.methods.method import TransformsData
from cl.tasks.article import Article
from cl.tasks.documents import Document

NAME = r"[A-Z\u00c0-\u00d6\u00d8-\u00de][\w'-]*"
SPAN = re.compile(rf"(?:{NAME})(?:\s+(?:(?:of|the|de|van|von)\s+)?{NAME})*|\d[\w.,:/%-]*\w|\d")
OPENING = re.compile(r"(?:^|[.!?:;]\s+)[\"'(]*$")
"""Text before a word that begins a sentence, or a part of one after a colon or semicolon."""


def spans(text: str) -> tuple[tuple[int, int], ...]:
    """First and last character of each salient span: runs of capitalised words, and what begins with a digit.

    A single capitalised word that opens a sentence is none.

    Args:
        text: a document.
    """
    found = SPAN.finditer(text)
    kept = (
        each for each in found if each[0][0].isdigit() or " " in each[0] or not OPENING.search(text[: each.start()])
    )
    return tuple(each.span() for each in kept)


@dataclass(eq=False)
class SalientSpans(TransformsData):
    """Learn the salient spans of the documents of reading tasks, and nothing else of them.

    The other tokens are read, and have no loss. A document without a span is learned whole, and counted.

    Deviation: the papers' code takes the named entities of spaCy's tagger, without times, amounts and ordinals. Here
    the rule is ours, by capitals and digits: it needs no tagger, and finds nothing of use where names are written in
    lower case.
    """

    transforms: ClassVar[tuple[str, ...]] = ("reading",)

    counts: dict[str, int] = field(init=False, repr=False, default_factory=lambda: {"documents": 0, "whole": 0})

    def transform(self, examples: Sequence[Document], task: str, split: str) -> list[Any]:
        """The documents to study with their spans; the questions as they are."""
        return [self._marked(document) if isinstance(document, Article) else document for document in examples]

    def _marked(self, article: Article) -> Article:
        found = spans(article.text)
        self.counts["documents"] += 1
        self.counts["whole"] += not found
        return replace(article, learned=found or None)

    def notes(self) -> dict[str, Any]:
        """Number of documents, and of those without a span."""
        told = (
            f"salient_spans: {self.counts['whole']} of {self.counts['documents']} documents have no span; learned whole"
        )
        return {**self.counts, **({"warnings": [told]} if self.counts["whole"] else {})}
