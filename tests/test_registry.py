from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cl import construction, registry
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


OWN_CLASS = """
from __future__ import annotations
from typing import Literal
from cl.errors import UserError

class Own:
    def __init__(self, rate: float, order: Literal["up", "down"] = "up", count: int | None = None, folder: str = "."):
        if rate < 0:
            raise UserError(f"rate: {rate} is negative")
        self.settings = (rate, order, count, folder)

not_a_class = 3
"""


@pytest.mark.parametrize(
    ("settings", "built"),
    [
        ({"rate": 0.5}, (0.5, "up", None, "here")),
        ({"rate": 1, "order": "down", "count": 3}, (1.0, "down", 3, "here")),
        ({"rate": "3e-4", "folder": "there"}, (3e-4, "up", None, "there")),  # YAML 1.1 reads 3e-4 as text
    ],
)
def test_build_a_class_of_the_users_own(workplace: Path, settings: dict[str, object], built: object) -> None:
    write(workplace / "own_class.py", OWN_CLASS)
    found = construction.build("sources", "own_class:Own", settings, "here", folder="here", colour="not asked for")
    assert found.settings == built


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("own_class:Own", {"rate": "fast"}, "tasks.a: rate: 'fast' is not of type float"),
        ("own_class:Own", {"rate": 1.0, "order": "left"}, "tasks.a: order: 'left' is not of type Literal"),
        ("own_class:Own", {"rate": 1.0, "count": 1.5}, r"tasks.a: count: 1.5 is not of type int \| None"),
        ("own_class:Own", {"rate": 1.0, "ordr": "up"}, r"setting of own_class:Own: 'ordr' is unknown; .*'order'"),
        ("own_class:Own", {}, "tasks.a: .* required: rate"),
        ("own_class:Own", {"rate": -1.0}, "tasks.a: rate: -1.0 is negative"),
        ("own_class:not_a_class", {}, "is not a class"),
        ("own_class:Missing", {}, "module 'own_class' has no 'Missing'"),
        ("no_such_module:Own", {}, "cannot import 'no_such_module:Own'"),
        ("fils", {}, r"sources: 'fils' is unknown; did you mean 'files'\?"),
    ],
)
def test_build_errors_are_one_line(workplace: Path, name: str, settings: dict[str, object], message: str) -> None:
    write(workplace / "own_class.py", OWN_CLASS)
    with pytest.raises(UserError, match=message) as caught:
        construction.build("sources", name, settings, "tasks.a")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("tasks.a")


def test_build_by_the_name_in_the_table(workplace: Path) -> None:
    write(workplace / "a.txt", "text")
    built = construction.build("sources", "files", {"path": "a.txt"}, "here", folder=str(workplace))
    assert list(built.documents()) == ["text"]
