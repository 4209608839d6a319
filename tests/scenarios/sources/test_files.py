from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from cl.errors import UserError
from scenarios.sources.files import Files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    for name, text in (("b.txt", "B1\n\nB2"), ("a.md", "A"), ("sub/c.txt", "C"), (".hidden.txt", "H")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    rows = [{"body": "eins", "id": 1}, {"body": "zwei\u2028drei", "id": 2}]
    text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n\n"
    (tmp_path / "rows.jsonl").write_text(text, encoding="utf-8")
    pa.parquet.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    return tmp_path


@pytest.mark.parametrize(
    ("path", "separator", "documents"),
    [
        ("a.md", None, ["A"]),
        ("*.txt", None, ["B1\n\nB2"]),
        ("b.txt", "\n\n", ["B1", "B2"]),
        ("**/*.txt", None, ["B1\n\nB2", "C"]),
        (".", "\n\n", ["A", "B1", "B2", "C"]),
        ("sub", None, ["C"]),
    ],
)
def test_plain_text(folder: Path, path: str, separator: str | None, documents: list[str]) -> None:
    assert list(Files(path, separator=separator, folder=str(folder)).documents()) == documents


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
def test_tables(tables: Path, name: str) -> None:
    assert list(Files(name, column="body", folder=str(tables)).documents()) == ["eins", "zwei\u2028drei"]


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet"])
@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("text", r"there is no column 'text' \(columns: body, id\)"),
        ("id", "column 'id' holds 1, which is not text"),
        (None, "column: is missing; it says which field of .*rows"),
    ],
)
def test_wrong_columns(tables: Path, name: str, column: str | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(Files(name, column=column, folder=str(tables)).documents())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": "x"}\n{"a"\n', "line 2: is not JSON"),
        (b"[1]\n", "line 1: is not a JSON object"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_broken_json_lines(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "x.jsonl").write_bytes(content)
    with pytest.raises(UserError, match=message):
        list(Files("x.jsonl", column="a", folder=str(tmp_path)).documents())


def test_bad_settings(folder: Path) -> None:
    with pytest.raises(UserError, match=r"path: there is no file .*none\*"):
        Files("none*", folder=str(folder)).files()
    with pytest.raises(UserError, match=r"column: 'text' is given, but .*a\.md is none of .jsonl, .json, .parquet"):
        list(Files("a.md", column="text", folder=str(folder)).documents())
    with pytest.raises(UserError, match="separator: is empty"):
        Files("a.md", separator="", folder=str(folder))


def test_the_fingerprint_follows_content_and_settings(folder: Path) -> None:
    source = Files("b.txt", folder=str(folder))
    first = source.fingerprint()
    os.utime(folder / "b.txt", (1, 1))
    assert source.fingerprint() == first
    assert Files("b.txt", separator="\n", folder=str(folder)).fingerprint() != first
    (folder / "b.txt").write_text("B1\n\nB3", encoding="utf-8")
    assert source.fingerprint() != first
