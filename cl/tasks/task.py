"""A task: one thing to learn or to measure, the sources of its documents, and how much of each is used."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from cl.tasks.splitting import Document

KINDS = ("text", "instruction", "preference")
"""What a document is: text; an example; an example with a rejected answer."""


class Source(Protocol):
    """Where documents come from. Any class with these members is a source; its settings are its constructor's.

    licence and about are one line each, for people. A class that takes relative paths names a parameter
    `folder: str = "."`: it is given the folder of the scenario's file.
    """

    licence: str
    about: str

    def documents(self) -> Iterator[Document]:
        """Yield the documents, always in the same order: text, or examples for tasks of the kind `instruction`."""

    def fingerprint(self) -> str:
        """Return text that changes whenever the documents may change, without reading a whole packaged corpus."""


@dataclass(frozen=True)
class Part:
    """One source of a task, and how many of its bytes are used at most (None: all)."""

    source: Source
    limit: int | None = None


@dataclass(frozen=True)
class Task:
    """One thing to learn, or, in `retain`, to measure only. limit: bytes of UTF-8 text over all its splits."""

    name: str
    sources: tuple[Part, ...]
    kind: str = "text"
    limit: int | None = None

    def fingerprint(self) -> str:
        """Hash of what the documents are before they are split; `Scenario.fingerprint` adds the split."""
        parts = [[type(part.source).__qualname__, part.source.fingerprint(), part.limit] for part in self.sources]
        return digest([self.kind, self.limit, parts])

    def modules(self) -> tuple[str, ...]:
        """Names of the modules whose code reads the sources, for keys that cover code."""
        own = {type(part.source).__module__ for part in self.sources}
        inner = {name for part in self.sources for name in getattr(part.source, "modules", tuple)()}  # of what it wraps
        return tuple(sorted(own | inner))


def digest(data: object) -> str:
    """Hash of JSON data."""
    return hashlib.blake2b(json.dumps(data).encode(), digest_size=16).hexdigest()
