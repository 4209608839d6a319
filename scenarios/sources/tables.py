"""Text and rows of the user's files: plain text, JSON Lines, JSON arrays and Parquet, compressed or not.

Files are read piece by piece, so one of any size takes the memory of its largest document; a JSON array is read whole.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cl.errors import UserError

TABLES = (".jsonl", ".json", ".parquet")
"""Endings of files that hold rows; one of COMPRESSED may follow the first two."""
COMPRESSED = (".gz", ".zst")
EXPANSION = {".gz": 3, ".zst": 3, ".parquet": 2}
"""How many times more bytes a file's text has than the file, roughly."""
SURROGATE = re.compile("[\ud800-\udfff]")
OTHER_CODES = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF32_BE: "utf-32", codecs.BOM_UTF16_LE: "utf-16",
               codecs.BOM_UTF16_BE: "utf-16"}  # fmt: skip
PIECE = 1 << 20  # bytes that are read at once
ROWS = 1000  # rows of a Parquet file that are read at once


def kind(path: Path) -> str:
    """Ending of a file without that of its compression."""
    return Path(path.stem).suffix if path.suffix in COMPRESSED else path.suffix


def text(path: Path) -> str:
    """Text of a file in UTF-8, without a byte order mark, decompressed if its name ends in one of COMPRESSED.

    Raises:
        UserError: for another encoding and for a damaged archive.
    """
    return "".join(_pieces(path))


def texts(path: Path, separator: str) -> Iterator[str]:
    """The texts between separators in a file, as `text(path).split(separator)`."""
    rest = ""
    for piece in _pieces(path):
        *found, rest = (rest + piece).split(separator)
        yield from found
    yield rest


def _pieces(path: Path) -> Iterator[str]:
    """Text of a file, piece by piece; every end of a line is a line feed."""
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    done = 0
    with _opened(path) as file:
        while raw := file.read(PIECE):
            if not done:
                _check_marks(raw, path)
            yield _decoded(decoder, raw, path, done)
            done += len(raw)
    yield _decoded(decoder, b"", path, done)


def _decoded(decoder: io.IncrementalNewlineDecoder, raw: bytes, path: Path, done: int) -> str:
    """Text of the next bytes of a file, none at its end. Raises UserError for what is not UTF-8."""
    pending = len(decoder.getstate()[0])
    try:
        return decoder.decode(raw, final=not raw)
    except UnicodeDecodeError as error:
        place = done - pending + error.start
        raise UserError(f"path: {path} is not UTF-8 text (byte {place}); use a glob such as *.txt") from error


def _check_marks(raw: bytes, path: Path) -> None:
    """Raises UserError for a file that begins with the mark of another encoding."""
    for mark, name in OTHER_CODES.items():
        if raw.startswith(mark):
            raise UserError(f"path: {path} is {name.upper()}, not UTF-8; convert it: iconv -f {name} -t utf-8")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file of bytes, decompressed. Raises UserError where it cannot be read."""
    try:
        with _stream(path) as file:
            yield file
    except (EOFError, OSError, zlib.error) as error:
        raise UserError(f"path: {path} cannot be read: {error}; write it again") from error


def _stream(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path)
    if path.suffix == ".zst":
        import pyarrow  # Python itself reads Zstandard from 3.14 on

        return pyarrow.input_stream(str(path), compression="zstd")
    return path.open("rb")


def rows(path: Path, columns: Iterable[str] | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each row of a file, after its place in the file for error messages.

    Args:
        path: file that ends in one of TABLES, or in `.tsv`: a line of names, then values between tabs, without quotes.
        columns: columns to read of a Parquet file; None: all.

    Raises:
        UserError: for what is no table, and for a row that is no object.
    """
    if kind(path) == ".parquet":
        yield from _parquet(path, columns)
    elif kind(path) == ".tsv":
        yield from _tabs(path)
    elif kind(path) == ".json" and not _has_lines(path):
        content = _json(text(path), str(path))
        if not isinstance(content, list):
            raise UserError(f"{path}: is no JSON array of objects; write one, or JSON Lines")
        for number, row in enumerate(content, start=1):
            yield f"{path}, entry {number}", _object(row, f"{path}, entry {number}")
    else:
        for number, line in enumerate(texts(path, "\n"), start=1):
            if line.strip():
                yield f"{path}, line {number}", _object(_json(line, f"{path}, line {number}"), f"{path}, line {number}")


def _tabs(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    lines = texts(path, "\n")
    columns = next(lines).split("\t")
    for number, line in enumerate(lines, start=2):
        values = line.split("\t")
        if line and len(values) != len(columns):
            many = f"{len(values)} values between tabs where the first line has {len(columns)} names"
            raise UserError(f"{path}, line {number}: {many}; repair the line")
        if line:
            yield f"{path}, line {number}", dict(zip(columns, values, strict=True))


def _has_lines(path: Path) -> bool:
    """Whether a `.json` file holds an object a line, as JSON Lines: more than one value cannot be JSON."""
    lines = (line for line in texts(path, "\n") if line.strip())
    first, second = next(lines, ""), next(lines, None)
    try:
        return second is not None and isinstance(json.loads(first), dict)
    except (json.JSONDecodeError, RecursionError):
        return False


def _json(content: str, where: str) -> Any:
    try:
        return json.loads(content)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}: is not JSON: {error.msg}") from error
    except RecursionError as error:
        raise UserError(f"{where}: is nested too deeply to be read; flatten it") from error


def _object(row: Any, where: str) -> dict[str, Any]:
    if not isinstance(row, dict):
        raise UserError(f"{where}: is not a JSON object")
    return row


def _parquet(path: Path, columns: Iterable[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    import pyarrow
    import pyarrow.parquet

    number = 0
    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            known = file.schema_arrow.names
            chosen = None if columns is None else list(columns)
            for column in chosen or ():
                require_column(column, known, str(path))
            for batch in file.iter_batches(ROWS, columns=chosen):
                for row in batch.to_pylist():
                    number += 1
                    yield f"{path}, row {number}", row
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"path: {path} is no readable Parquet file: {' '.join(str(error).split())}") from error


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
    if lone := SURROGATE.search(value):
        code = f"U+{ord(lone[0]):04X}"
        raise UserError(
            f"{where}: column {column!r} holds half of a surrogate pair ({code}), which is no text; repair it"
        )
    return value
