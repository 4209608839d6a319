"""Files as users have them: arrays, archives, byte order marks, other encodings, and damage told in one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from scenarios.sources.examples import Examples
from scenarios.sources.files import Files
from scenarios.sources.tables import checked, rows, text, texts

ROWS = [{"question": "Größe?", "answer": "groß"}, {"question": "Zwei?", "answer": "2"}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def zstd(content: bytes) -> bytes:
    import pyarrow as pa

    compressed: bytes = pa.compress(content, codec="zstd", asbytes=True)
    return compressed


def parquet(path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), path)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.jsonl", LINES.encode()),
        ("rows.jsonl", LINES.encode("utf-8-sig")),
        ("rows.jsonl", LINES.replace("\n", "\r\n").encode()),
        ("rows.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)),
        ("rows.jsonl.zst", zstd(LINES.encode())),
        ("rows.json", json.dumps(ROWS).encode()),
        ("rows.json", LINES.encode()),
        ("rows.json.gz", gzip.compress(json.dumps(ROWS).encode(), mtime=0)),
        ("rows.parquet", None),
    ],
)
def test_rows_are_the_same_in_every_format(name: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is None:
        parquet(path)
    else:
        path.write_bytes(content)
    assert [row for _, row in rows(path)] == ROWS
    assert [example.question for example in Examples(name, folder=str(tmp_path)).documents()] == ["Größe?", "Zwei?"]
    assert list(Files(name, column="answer", folder=str(tmp_path)).documents()) == ["groß", "2"]


def test_a_compressed_text_without_its_mark(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress("\ufeffone\r\n\r\ntwo".encode()))
    assert list(Files("a.txt.gz", separator="\n\n", folder=str(tmp_path)).documents()) == ["one", "two"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.jsonl", LINES.encode("utf-16"), "is UTF-16, not UTF-8; convert it: iconv -f utf-16 -t utf-8"),
        ("a.jsonl", LINES.encode("utf-32"), "is UTF-32, not UTF-8"),
        ("a.jsonl", LINES.encode("latin-1"), r"is not UTF-8 text \(byte \d+\)"),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:-9], "cannot be read: .*; write it again"),
        ("a.jsonl.gz", LINES.encode(), "cannot be read: Not a gzipped file"),
        ("a.jsonl.gz", gzip.compress(LINES.encode(), mtime=0)[:20] + b"x" * 50, "cannot be read: .*; write it again"),
        ("a.jsonl.zst", LINES.encode(), "cannot be read: .*; write it again"),
        ("a.jsonl.zst", zstd(LINES.encode())[:-9], "cannot be read: .*; write it again"),
        pytest.param("a.jsonl", b"[" * 100_000, "line 1: is nested too deeply to be read", id="deep line"),
        pytest.param("a.json", b"[" * 100_000, "is nested too deeply to be read", id="deep array"),
        ("a.json", b'{"question": "x"}', "is no JSON array of objects; write one, or JSON Lines"),
        ("a.json", b"[1]", "entry 1: is not a JSON object"),
        ("a.parquet", b"PAR1", "is no readable Parquet file"),
        ("a.csv", b"question,answer", r"is none of \.jsonl, \.json, \.parquet"),
        (
            "a.jsonl",
            b'{"question": "\\ud800", "answer": "x"}',
            r"holds half of a surrogate pair \(U\+D800\), which is no",
        ),
    ],
)
def test_damage_is_one_line(name: str, content: bytes, words: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=words) as caught:
        list(Examples(name, folder=str(tmp_path)).documents())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize("separator", ["\n", "\n\n", "ä", "aa"])
def test_a_file_is_the_same_in_pieces_of_any_size(
    size: int, separator: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = "\ufeff😀aaa\r\n\r\n\r\nzwei ää\r\r\ndrei\u2028\n\n\naaaa\n"
    (tmp_path / "a.txt").write_bytes(content.encode())
    monkeypatch.setattr("scenarios.sources.tables.PIECE", size)
    whole = content[1:].replace("\r\n", "\n").replace("\r", "\n")
    assert text(tmp_path / "a.txt") == whole
    assert list(texts(tmp_path / "a.txt", separator)) == whole.split(separator)
    (tmp_path / "b.txt").write_bytes("äö".encode() + b"\xff")
    with pytest.raises(UserError, match=r"byte 4\)"):
        text(tmp_path / "b.txt")


def test_text_and_value(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("\ufeffä".encode())
    assert text(tmp_path / "a.txt") == "ä"
    assert checked("😀", "column", ["column"], "here") == "😀"  # a whole pair in other encodings
    value: Any = 3
    with pytest.raises(UserError, match="here: column 'column' holds 3, which is not text"):
        checked(value, "column", ["column"], "here")
