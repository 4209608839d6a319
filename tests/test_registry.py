from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cl import registry
from cl.errors import UserError


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "scenarios").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_names_are_the_shipped_ones_and_the_users(workplace: Path) -> None:
    write(workplace / "scenarios" / "mine.yaml", "summary: x")
    names = registry.names("scenarios")
    assert {"mine", "tiny", "english_german"} <= set(names)
    assert names == sorted(names)


def test_read_by_name_and_by_path(workplace: Path) -> None:
    path = write(workplace / "scenarios" / "mine.yaml", "summary: grüße\nversion: 2\n")
    for name in ("mine", str(path), "scenarios/mine.yaml"):
        assert registry.read("scenarios", name) == {"summary": "grüße", "version": 2}


def test_an_unknown_name_gets_the_closest_and_all_known() -> None:
    with pytest.raises(UserError, match=r"scenarios: 'tinny' is unknown; did you mean 'tiny'\? \(known: domains,"):
        registry.read("scenarios", "tinny")


def test_a_name_of_two_files_is_refused(workplace: Path) -> None:
    write(workplace / "scenarios" / "tiny.yaml", "summary: my own\n")
    with pytest.raises(UserError, match=r"'tiny' is both .* and .*; give the path"):
        registry.read("scenarios", "tiny")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: [1, 2\n", r"bad.yaml, line 3: "),
        ("a: 1\nb: 2\na: 3\n", r"bad.yaml, line 3: key 'a' is given twice"),
        ("a: {b: 1, b: 2}\n", r"bad.yaml, line 1: key 'b' is given twice"),
        ("- 1\n- 2\n", r"bad.yaml: must hold `key: value` lines"),
        ("1: a\n", r"bad.yaml: must hold `key: value` lines whose keys are text"),
        ("a: \x00\n", r"bad.yaml: "),
    ],
)
def test_malformed_yaml_is_one_line_with_the_place(workplace: Path, text: str, message: str) -> None:
    path = write(workplace / "bad.yaml", text)
    with pytest.raises(UserError, match=message) as caught:
        registry.read("scenarios", str(path))
    assert "\n" not in str(caught.value)


def test_other_encodings_are_refused(workplace: Path) -> None:
    (workplace / "bad.yaml").write_bytes("a: grün".encode("latin-1"))
    with pytest.raises(UserError, match=r"bad.yaml: is not UTF-8 text \(byte 5\)"):
        registry.read("scenarios", "bad.yaml")
