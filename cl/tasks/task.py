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
    """One source of a task.

    Args:
        source: where the documents come from.
        limit: largest number of bytes that is used. None: all.
        name: name of the source's class in the scenario, without the module of a user's own.
    """

    source: Source
    limit: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Task:
    """One thing to learn, or, in `retain`, to measure only. limit: bytes of UTF-8 text over all its splits."""

    name: str
    sources: tuple[Part, ...]
    kind: str = "text"
    limit: int | None = None

    def fingerprint(self) -> str:
        """Hash of what the documents are before they are split; `Scenario.fingerprint` adds the split."""
        parts = [[part.name, part.source.fingerprint(), part.limit] for part in self.sources]
        return digest([self.kind, self.limit, parts])

    def code(self) -> tuple[str, ...]:
        """`module:Class` of each class that reads the documents, for keys that cover code."""
        own = {f"{type(part.source).__module__}:{type(part.source).__qualname__}" for part in self.sources}
        wrapped = {entry for part in self.sources for entry in getattr(part.source, "code", tuple)()}
        return tuple(sorted(own | wrapped))


def digest(data: object) -> str:
    """Hash of JSON data."""
    return hashlib.blake2b(json.dumps(data).encode(), digest_size=16).hexdigest()
