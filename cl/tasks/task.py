"""A task: one data set to learn or to measure, with the sources of its documents and their limits."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from cl.errors import UserError
from cl.tasks.documents import Document

KINDS = ("text", "instruction", "preference", "passage", "reading")
"""Kinds of tasks by their documents: text; examples; examples with a rejected answer; passages with twins; articles."""
ANSWERED = ("instruction", "reading")
"""Kinds whose measured splits hold questions with answers."""


class Source(Protocol):
    """A source of documents: any class with these members. The parameters of its constructor are its settings.

    A class that reads relative paths has a parameter `folder: str = "."`, which gets the folder of the scenario's file.

    Attributes:
        licence: licence of the documents, in one line.
        about: description of the documents, in one line.

    An attribute `states_splits: bool = False` says that no example states its split; without it, the examples of a set
    are read while planning to find test questions that another set trains on. A method `size() -> int` says how many
    bytes of text there are, roughly and without reading them: the plan tells the time of a data node by it.
    """

    licence: str
    about: str

    def documents(self) -> Iterator[Document]:
        """Yield the documents, always in the same order: text, or examples for tasks of the kind `instruction`."""

    def fingerprint(self) -> str:
        """Return text that changes whenever the documents may change; it must not read a whole packaged corpus."""


@dataclass(frozen=True)
class Part:
    """One source of a task.

    Args:
        source: where the documents come from.
        limit: largest number of bytes to use; None: all.
        name: name of the source in the scenario; for a class "package.module:Class" the class name only.
    """

    source: Source
    limit: int | None = None
    name: str = ""


@dataclass(frozen=True)
class Task:
    """One data set to learn, or only to measure.

    Args:
        name: name of the task.
        sources: sources of its documents, each with its own limit.
        kind: kind of its documents, one of `KINDS`.
        limit: largest number of bytes of UTF-8 text in all splits together; None: no limit.
    """

    name: str
    sources: tuple[Part, ...]
    kind: str = "text"
    limit: int | None = None

    def fingerprint(self) -> str:
        """Hash of the documents before they are split; `Scenario.fingerprint` adds the split."""
        try:
            parts = [[part.name, part.source.fingerprint(), part.limit] for part in self.sources]
        except OSError as error:  # of a file that may not be read, or a path that is none
            raise UserError(f"{self.name}: {error.filename}: {error.strerror or error}; correct the path") from error
        return digest([self.kind, self.limit, parts])

    def documents(self) -> Iterator[Document]:
        """Yield the documents of all sources."""
        for part in self.sources:
            yield from part.source.documents()

    @property
    def states_splits(self) -> bool:
        """Whether a source may state the split of its documents, by its attribute `states_splits`."""
        return any(getattr(part.source, "states_splits", True) for part in self.sources)

    def code(self) -> tuple[str, ...]:
        """`module:Class` of each class that reads the documents, for keys that cover code."""
        own = {f"{type(part.source).__module__}:{type(part.source).__qualname__}" for part in self.sources}
        wrapped = {entry for part in self.sources for entry in getattr(part.source, "code", tuple)()}
        return tuple(sorted(own | wrapped))


def digest(data: object) -> str:
    """Hash of JSON data."""
    return hashlib.blake2b(json.dumps(data).encode(), digest_size=16).hexdigest()
