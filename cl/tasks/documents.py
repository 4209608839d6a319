"""Documents on disk: written one after another, read by number, so that a set larger than memory can be shuffled."""

from __future__ import annotations

import json
import os
import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from cl.tasks.article import Article
from cl.tasks.example import Example
from cl.tasks.passage import Passage

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Document = str | Example | Passage | Article


class Spool:
    """Documents in a file without a name, which is gone when nothing refers to it any more.

    Args:
        folder: folder with space for all documents; None: that of temporary files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._starts = array("Q", [0])

    def __len__(self) -> int:
        return len(self._starts) - 1

    def add(self, document: Document) -> None:
        """Write a document behind the others."""
        content = _written(document)
        self._file.write(content)
        self._starts.append(self._starts[-1] + len(content))

    def documents(self, numbers: npt.NDArray[np.int64]) -> Documents:
        """The documents of these numbers, in this order; nothing is added afterwards."""
        self._file.flush()
        return Documents(self, numbers)

    def read(self, number: int) -> Document:
        """A document. By a call for its bytes alone: pages of a mapped file would count as memory."""
        start, stop = self._starts[number], self._starts[number + 1]
        return _parsed(os.pread(self._file.fileno(), stop - start, start))


class Documents(Sequence[Document]):
    """Some documents of a spool, each read when it is asked for.

    Args:
        spool: where they are.
        numbers: number of each in the spool.
    """

    def __init__(self, spool: Spool, numbers: npt.NDArray[np.int64]) -> None:
        self.spool, self.numbers = spool, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, place: int) -> Document: ...
    @overload
    def __getitem__(self, place: slice) -> Documents: ...
    def __getitem__(self, place: int | slice) -> Document | Documents:
        found = self.numbers[place]
        return Documents(self.spool, found) if isinstance(place, slice) else self.spool.read(int(found))

    def __iter__(self) -> Iterator[Document]:
        return (self.spool.read(int(number)) for number in self.numbers)


def _written(document: Document) -> bytes:
    """A document as bytes: the letter of its kind, then its text in UTF-8 or its fields in JSON."""
    if isinstance(document, str):
        return b"T" + document.encode()
    kind = b"E" if isinstance(document, Example) else b"P" if isinstance(document, Passage) else b"A"
    return kind + json.dumps(asdict(document)).encode()


def _parsed(content: bytes) -> Document:
    """The document that `_written` wrote."""
    if content[:1] == b"T":
        return content[1:].decode()
    raw: dict[str, Any] = json.loads(content[1:])
    if content[:1] == b"E":
        return Example.parse(raw)
    if content[:1] == b"P":
        return Passage(**raw)
    learned = None if raw["learned"] is None else tuple((first, last) for first, last in raw["learned"])
    return Article(raw["text"], tuple(map(Example.parse, raw["questions"])), learned)
