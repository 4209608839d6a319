from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import pytest

from cl import plain_values
from cl.errors import UserError


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": {"b": float("nan")}}, r"^a\.b: nan is not a finite number"),
        ({"a": [1, [2, float("inf")]]}, r"^a\[1\]\[1\]: inf is not a finite number"),
        ({"a": (0.9, -float("inf"))}, r"^a\[1\]: -inf is not a finite number"),
        ({"a": {1: 2}}, r"^a: the name 1 is a number, date or truth value in YAML"),
        ({True: 2}, "^the top level: the name True is a number, date"),
        ({"a": datetime.date(2026, 1, 1)}, r"^a: 2026-01-01 is a date in YAML; write it in quotes"),
        ({"a": b"x"}, "^a: .* is a bytes in YAML"),
        ({"a": "&s [*s]"}, r"^a: the text \*s refers to what holds it"),
    ],
)
def test_what_json_cannot_hold_is_named_by_its_dotted_key(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        plain_values.require_plain(value, "")


def test_what_json_can_hold() -> None:
    plain_values.require_plain({"a": [1, 1.5, True, None, "x", {"b": ("c",)}]}, "")


@pytest.mark.parametrize("name", ["x", "a.b-c_d", "grün", "x" * 200])
def test_names_of_files(name: str) -> None:
    plain_values.require_file_name(name, "name")


@pytest.mark.parametrize("name", ["", ".", "a/b", "a b", "[x]", "a\n", "x" * 201, "é" * 101])
def test_what_names_no_file(name: str) -> None:
    with pytest.raises(UserError, match="name: "):
        plain_values.require_file_name(name, "name")


@pytest.mark.parametrize("path", [None, "a b/[c]", "x" * 255, "x/" * 2000, "s3://bucket/x?y#z", "grün"])
def test_paths(path: str | None) -> None:
    plain_values.require_path(path, "store")


@pytest.mark.parametrize("path", ["", " ", "a\0b", "a\nb", "x" * 256, "é" * 128, "x/" * 2048, "\ud800"])
def test_what_is_no_path(path: str) -> None:
    with pytest.raises(UserError, match="store: "):
        plain_values.require_path(path, "store")


def test_whole_numbers_and_budgets_have_bounds() -> None:
    @dataclass
    class Group:
        least: int = 1
        unset: int | None = None

    plain_values.require_between(Group(), "group", least=(1, 9), unset=(1, 9))
    for number, message in ((0, r"group\.least: 0 must be at least 1"), (10, r"group\.least: 10 must be at most 9")):
        with pytest.raises(UserError, match=message):
            plain_values.require_between(Group(number), "group", least=(1, 9))
    plain_values.require_amount({"a": 1, "b": 10**13}, "tokens")
    for amount in (0, 10**15, {"a": -1}):
        with pytest.raises(UserError, match=r"tokens(\.a)?: .* must be at least 1 and at most 1e\+13"):
            plain_values.require_amount(amount, "tokens")
