"""Text from the user's files: plain text, JSON Lines or Parquet."""

from __future__ import annotations

import glob
import hashlib
import json
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from cl.errors import UserError


class Files:
    r"""Documents from a file, from all files of a folder and its sub-folders, or from the files of a glob.

    Hidden files and folders are left out; other files are read in the order of their names. Raises UserError for a
    missing file, a wrong column and text that is not UTF-8.

    Args:
        path: file, folder or glob, relative to `folder`; `**` in a glob stands for any sub-folders.
        column: field of a `.jsonl` or `.parquet` file that holds the document; required for these files only.
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

    def files(self) -> list[Path]:
        """Return the files that are read, sorted; raises UserError if there is no file."""
        names = glob.glob(str(self.path / "**") if self.path.is_dir() else str(self.path), recursive=True)
        found = map(Path, names)  # glob leaves hidden files and folders out
        files = sorted(path for path in found if path.is_file())
        if not files:
            raise UserError(f"path: there is no file {self.path}")
        return files

    def _read(self, path: Path) -> Iterator[str]:
        if path.suffix == ".parquet":
            return _parquet(path, self._required_column(path))
        if path.suffix == ".jsonl":
            column = self._required_column(path)
            return (checked(row.get(column), column, row, where) for where, row in json_lines(path))
        if self.column is not None:
            raise UserError(f"column: {self.column!r} is given, but {path} is neither .jsonl nor .parquet")
        text = _text(path)
        return iter([text] if self.separator is None else text.split(self.separator))

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


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"path: {path} is not UTF-8 text (byte {error.start}); use a glob such as *.txt") from error


def json_lines(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each object of a JSON Lines file, after its place in the file for error messages; skips empty lines.

    Raises:
        UserError: for a line that is not a JSON object, and for text that is not UTF-8.
    """
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UserError(f"{where}: is not JSON: {error.msg}") from error
        if not isinstance(row, dict):
            raise UserError(f"{where}: is not a JSON object")
        yield where, row


def _parquet(path: Path, column: str) -> Iterator[str]:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        columns = file.schema_arrow.names
        require_column(column, columns, str(path))
        for batch in file.iter_batches(columns=[column]):
            yield from (checked(value, column, columns, str(path)) for value in batch.column(0).to_pylist())


def require_column(column: str, columns: Iterable[str], where: str) -> None:
    """Raise UserError, which names the existing columns, if `column` is not one of them.

    Args:
        column: required column.
        columns: existing columns.
        where: place in the data, with which the message begins.
    """
    if column not in (columns := list(columns)):
        raise UserError(f"{where}: there is no column {column!r} (columns: {', '.join(map(str, columns))})")


def checked(value: object, column: str, columns: Iterable[str], where: str) -> str:
    """Return the value of a column if it is text.

    Args:
        value: value to check.
        column: column of the value.
        columns: existing columns.
        where: place in the data, with which an error message begins.

    Raises:
        UserError: if the column does not exist or the value is not text.
    """
    require_column(column, columns, where)
    if not isinstance(value, str):
        raise UserError(f"{where}: column {column!r} holds {value!r}, which is not text")
    return value
