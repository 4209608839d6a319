"""Text from the user's files: plain text, JSON Lines, JSON arrays or Parquet."""

from __future__ import annotations

import glob
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from cl.errors import UserError
from scenarios.sources import tables


class Files:
    r"""Documents from a file, from all files of a folder and its sub-folders, or from the files of a glob.

    Hidden files and folders are left out; other files are read in the order of their names, those ending in `.gz` or
    `.zst` decompressed. Raises UserError for a missing file, a wrong column and text that is not UTF-8.

    Args:
        path: file, folder or glob, relative to `folder`; `**` in a glob stands for any sub-folders.
        column: field of a `.jsonl`, `.json` or `.parquet` file that holds the document; a `.json` file without it is
            plain text.
        separator: text between two documents of a plain text file, such as "\n\n"; None: each file is one document.
        licence: licence, in one line, for `cl scenario show`.
        about: description, in one line, for `cl scenario show`; by default the path.
        folder: folder of the scenario's file.
    """

    def __init__(
        self,
        path: str,
        column: str | None = None,
        separator: str | None = None,
        licence: str = "not stated",
        about: str = "",
        folder: str = ".",
    ) -> None:
        if separator == "":
            raise UserError("separator: is empty; leave it out for one document per file")
        self.path = Path(folder, path)
        self.column = column
        self.separator = separator
        self.licence = licence
        self.about = about or path

    def documents(self) -> Iterator[str]:
        """Yield the documents of all files."""
        for path in self.files():
            yield from self._read(path)

    def fingerprint(self) -> str:
        """Hash of the files' names and contents, and the settings that decide how documents are read."""
        return f"{content_hash(self.files())} column={self.column!r} separator={self.separator!r}"

    def size(self) -> int:
        """Bytes of text, roughly, from the sizes of the files."""
        return sum(path.stat().st_size * tables.EXPANSION.get(path.suffix, 1) for path in self.files())

    def files(self) -> list[Path]:
        """Return the files that are read, sorted; raises UserError if there is no file."""
        names = glob.glob(str(self.path / "**") if self.path.is_dir() else str(self.path), recursive=True)
        found = map(Path, names)  # glob leaves hidden files and folders out
        files = sorted(path for path in found if path.is_file())
        if not files:
            raise UserError(f"path: there is no file {self.path}")
        return files

    def _read(self, path: Path) -> Iterator[str]:
        if tables.kind(path) in tables.TABLES and (self.column is not None or tables.kind(path) != ".json"):
            column = self._required_column(path)
            return (tables.checked(row.get(column), column, row, where) for where, row in tables.rows(path, [column]))
        if self.column is not None:
            raise UserError(f"column: {self.column!r} is given, but {path} is none of {', '.join(tables.TABLES)}")
        return iter([tables.text(path)]) if self.separator is None else tables.texts(path, self.separator)

    def _required_column(self, path: Path) -> str:
        if self.column is None:
            raise UserError(f"column: is missing; it says which field of {path} is the document")
        return self.column


def content_hash(files: Iterable[Path]) -> str:
    """Hash of the names and contents of files; a file is read again only if its size or modification time changed."""
    digests = [(path.name, _file_hash(path, path.stat().st_size, path.stat().st_mtime_ns)) for path in files]
    return hashlib.blake2b(repr(digests).encode(), digest_size=16).hexdigest()


@cache
def _file_hash(path: Path, size: int, changed: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
