"""Definitions of medical findings (Human Phenotype Ontology), as documents or as questions."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from cl.errors import UserError
from cl.tasks.documents import Document
from cl.tasks.example import Example
from scenarios.sources.packaged import Packaged

OPTIONS = 4  # options of a question
LONGEST = 300  # characters of a definition in a question


class Findings:
    """The first `terms` findings of the packaged corpus `hpo`, as documents or as questions.

    A stream can learn from documents and be measured on questions about the same findings; both forms use all findings,
    whatever the split. In questions, definitions are cut at LONGEST characters.

    Args:
        form: `documents`: names and definitions of five findings per document, as in the corpus; `questions`: a
            definition and four names to choose from, three of them drawn at random from the same findings.
        terms: number of findings.
        seed: seed of the random names.
    """

    states_splits = False

    def __init__(self, form: Literal["documents", "questions"], terms: int = 400, seed: int = 0) -> None:
        if terms < 2 * OPTIONS:
            raise UserError(f"terms: {terms} leaves nothing to choose from; give at least {2 * OPTIONS}")
        self.form, self.terms, self.seed = form, terms, seed
        self.corpus = Packaged("hpo")
        self.licence, self.about = self.corpus.licence, f"{terms} medical findings of hpo, as {form}"

    def documents(self) -> Iterator[Document]:
        """Yield documents of five findings, or questions."""
        found = self._findings()
        if self.form == "documents":
            for start in range(0, len(found), 5):
                yield "\n\n".join(f"{name}\n{definition}" for name, definition in found[start : start + 5])
        else:
            yield from self._questions(found)

    def fingerprint(self) -> str:
        """Fingerprint of the corpus, and the settings."""
        return f"{self.corpus.fingerprint()} {self.form} {self.terms} {self.seed}"

    def _findings(self) -> list[tuple[str, str]]:
        entries = (entry.split("\n", 1) for text in self.corpus.documents() for entry in text.split("\n\n"))
        found = [(name.strip(), rest[0].strip()) for name, *rest in entries if rest and rest[0].strip()]
        return found[: self.terms]

    def _questions(self, found: list[tuple[str, str]]) -> Iterator[Example]:
        chance = random.Random(self.seed)
        names = [name for name, _ in found]
        for name, definition in found:
            options = [name, *chance.sample([other for other in names if other != name], OPTIONS - 1)]
            chance.shuffle(options)
            question = f"{definition[:LONGEST]}\nWhich finding is this: {'; '.join(options)}?"
            yield Example(question, name, "label", tuple(options))
