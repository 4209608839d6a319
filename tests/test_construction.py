"""Objects from settings: a user's own classes, dataclasses with their defaults, and errors of one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from cl import construction
from cl.errors import UserError


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


OWN_CLASS = """
from __future__ import annotations
from typing import Literal
from cl.errors import UserError

class Own:
    def __init__(self, rate: float, order: Literal["up", "down"] = "up", count: int | None = None, folder: str = "."):
        if rate < 0:
            raise UserError(f"rate: {rate} is negative")
        self.settings = (rate, order, count, folder)

    def documents(self):
        return iter(())

    def fingerprint(self):
        return ""

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
        ("own_class:Own", {}, "tasks.a: rate: is missing; give a value"),
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


OWN_DATACLASS = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from absent_library import Table

@dataclass
class Base:
    rate: float
    names: list[str] = field(default_factory=lambda: ["a"])

@dataclass
class Derived(Base):
    mode: Literal["up", "down"] | None = "up"
    table: Table = field(init=False, default=None)

    def read(self) -> Table:
        return self.table

    def documents(self):
        return iter(())

    def fingerprint(self):
        return ""
"""


def test_a_dataclass_is_built_with_its_defaults_and_says_its_settings(workplace: Path) -> None:
    write(workplace / "own_dataclass.py", OWN_DATACLASS)
    built, other = (construction.build("sources", "own_dataclass:Derived", {"rate": 1}, "here") for _ in range(2))
    assert construction.settings_of(built) == {"rate": 1.0, "names": ["a"], "mode": "up"}
    built.names.append("b")
    assert other.names == ["a"]  # each object has a default of its own


def test_a_setting_may_be_empty_where_its_type_says_so(workplace: Path) -> None:
    write(workplace / "own_dataclass.py", OWN_DATACLASS)
    empty = construction.build("sources", "own_dataclass:Derived", {"rate": 1, "mode": None}, "here")
    assert empty.mode is None
    with pytest.raises(UserError, match="here: names: is empty; give a value or leave the setting out"):
        construction.build("sources", "own_dataclass:Derived", {"rate": 1, "names": None}, "here")
