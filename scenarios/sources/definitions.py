"""Definitions of medical findings (Human Phenotype Ontology) with questions by rule: documents to read, closed book.

Questions and answers are made of the fields of a term, by rule and not by people:

    document   NAME: DEFINITION Synonyms: SYNONYM; SYNONYM. Broader: PARENT.
    questions  Which finding is broader than NAME?   PARENT       (any parent is right)
               What else is NAME called?             SYNONYM      (any exact synonym is right)

A name often gives its parent away, so closed-book answers are not all wrong: compare with the row before the reading.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass

from cl.errors import UserError
from cl.tasks.article import Article
from cl.tasks.documents import Document
from cl.tasks.example import Example
from scenarios.sources.packaged import Packaged
from scenarios.sources.reading import Form, in_form, require_form

DEFINITION = re.compile(r'^def: "(.*?)(?<!\\)"', re.MULTILINE)
SYNONYM = re.compile(r'^synonym: "(.*?)(?<!\\)" EXACT', re.MULTILINE)
PARENT = re.compile(r"^is_a: \S+ ! (.+)$", re.MULTILINE)
NAME = re.compile(r"^name: (.+)$", re.MULTILINE)


@dataclass(frozen=True)
class Term:
    """A term of an ontology.

    Args:
        name: its name.
        definition: its definition.
        synonyms: its exact synonyms, other than the name.
        parents: names of the broader terms.
    """

    name: str
    definition: str
    synonyms: tuple[str, ...]
    parents: tuple[str, ...]


class Definitions:
    """Terms of the packaged corpus `hpo` as articles, or as questions about them.

    A term belongs to the part of [0, 1) in which the hash of its name lies, so parts that do not overlap share no term,
    and a larger part holds the terms of a smaller one.

    Args:
        form: `articles`, `questions` or `open_book`, see `scenarios.sources.reading`.
        part: first and last number of the part.
        terms: largest number of terms, in the order of their hashes; None: all of the part.
        longest: largest number of characters of a document; longer ones are left out.

    Raises:
        UserError: for an unknown form, a part outside of [0, 1], and a part with fewer terms than asked for.
    """

    def __init__(
        self, form: Form, part: tuple[float, float] = (0.0, 1.0), terms: int | None = None, longest: int = 400
    ) -> None:
        require_form(form)
        if not 0 <= part[0] < part[1] <= 1:
            raise UserError(f"part: {list(part)} must be two numbers between 0 and 1, the smaller one first")
        if longest < 1 or (terms is not None and terms < 1):
            raise UserError(f"terms, longest: {terms}, {longest} must be at least 1")
        self.form, self.part, self.terms, self.longest = form, part, terms, longest
        self.corpus = Packaged("hpo")
        self.licence = self.corpus.licence
        self.about = f"medical findings of hpo as {form}, part {part[0]} to {part[1]}; questions by rule"
        self.states_splits = form == "articles"

    def documents(self) -> Iterator[Document]:
        """Yield the articles or the questions."""
        return in_form(self._articles(), self.form)

    def fingerprint(self) -> str:
        """Fingerprint of the corpus, and the settings."""
        return f"{self.corpus.fingerprint()} {self.form} {list(self.part)} {self.terms} {self.longest}"

    def _articles(self) -> list[Article]:
        text = "\n".join(path.read_text(encoding="utf-8") for path in self.corpus.files())
        found = (article for term in terms_of(text) if (article := article_of(term)) is not None)
        own = [(place_of(each.text), each) for each in found if len(each.text) <= self.longest]
        kept = sorted((place, each.text, each) for place, each in own if self.part[0] <= place < self.part[1])
        if not kept or len(kept) < (self.terms or 1):
            raise UserError(f"terms: the part {list(self.part)} has {len(kept)} terms; widen it, or ask for fewer")
        return [each for *_, each in kept[: self.terms]]


def terms_of(text: str) -> Iterator[Term]:
    """Yield the terms of an OBO file that have a definition and are not obsolete."""
    for raw in text.split("\n[Term]\n")[1:]:
        entry = raw.partition("\n[Typedef]")[0]
        name, definition = NAME.search(entry), DEFINITION.search(entry)
        if name is None or definition is None or "\nis_obsolete: true" in entry:
            continue
        others = (plain for each in SYNONYM.findall(entry) if (plain := _plain(each)).lower() != name[1].lower())
        synonyms = tuple(dict.fromkeys(others))
        yield Term(name[1], _plain(definition[1]), synonyms, tuple(PARENT.findall(entry)))


def article_of(term: Term) -> Article | None:
    """The article of a term, None if it has neither parent nor synonym to ask for."""
    asked: list[Example] = []
    text = f"{term.name}: {term.definition}"
    if term.synonyms:
        text += f" Synonyms: {'; '.join(term.synonyms)}."
        asked.append(Example(f"What else is {term.name} called?", term.synonyms[0], "phrase", (), term.synonyms[1:]))
    if term.parents:
        text += f" Broader: {'; '.join(term.parents)}."
        question = f"Which finding is broader than {term.name}?"
        asked.append(Example(question, term.parents[0], "phrase", (), term.parents[1:]))
    return Article(text, tuple(asked)) if asked else None


def place_of(text: str) -> float:
    """The place of a document in [0, 1), by the hash of the name before its colon."""
    name = text.partition(": ")[0]
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "big") / 2**64


def _plain(text: str) -> str:
    """A text of an OBO file without its escapes."""
    return " ".join(re.sub(r"\\(.)", lambda found: " " if found[1] == "n" else found[1], text).split())
