from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl import yaml_text
from cl.errors import UserError

NINES = [f"&{new} [{', '.join([f'*{old}'] * 9)}]" for old, new in zip("abcde", "bcdef", strict=True)]
BOMB = f"[&a [x, x, x, x, x, x, x, x, x], {', '.join(NINES)}]"  # 9 ** 6 values


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: 1\nb: [x, 1.5, true, null]\n", {"a": 1, "b": ["x", 1.5, True, None]}),
        ("a: &one {x: 1}\nb: *one\nc: {<<: *one, y: 2}\n", {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}),
        ("a: !!str 1\n", {"a": "1"}),
        ("separator: =\n", {"separator": "="}),
        ("\ufeffa: 1\n", {"a": 1}),
        (f"a: {2**63 - 1}\n", {"a": 2**63 - 1}),
        (f"a: {'x' * 5000}\n", {"a": "x" * 5000}),
        ("", None),
    ],
)
def test_what_yaml_means(tmp_path: Path, text: str, expected: Any) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    assert yaml_text.read(path) == expected


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("a: 1\nb: !!int abc\n", 2, "'abc' is not of type int"),
        ("a: 1\nb: !!bool maybe\n", 2, "'maybe' is not of type bool"),
        ("a: 1\nb: !!timestamp 99\n", 2, "'99' is not of type timestamp"),
        ("a: 2026-13-45\n", 1, "'2026-13-45' is not of type timestamp"),
        ("a: !!map [1]\n", 1, "expected a mapping node, but found sequence"),
        ("a: 1\nb: !!python/object/apply:os.system [ls]\n", 2, "the tag .* is not read here"),
        ("a: !!set {x, y}\n", 1, "the tag .*set' is not read here"),
        ("a: !own 1\n", 1, "the tag '!own' is not read here"),
        (f"a: 1\nb: {'9' * 5000}\n", 2, "the number has too many digits"),
        (f"a: 0x{'f' * 5000}\n", 1, "the number has too many digits"),
        (f"a: {2**63}\n", 1, "the whole number '9223372036854775808' is too large"),
        (f"a: 1:{'59:' * 100}5\n", 1, "the whole number .* is too large"),
        (f"a: {'[' * 2000}{']' * 2000}\n", 1, "is nested more than 40 levels deep"),
        (f"a: {'{b: ' * 100}1{'}' * 100}\n", 1, "is nested more than 40 levels deep"),
        ("a: 1\nb: &self [*self]\n", 2, r"\*self refers to what holds it"),
        ("a: &self {b: {c: *self}}\n", 1, r"\*self refers to what holds it"),
        ("a: &self {<<: *self}\n", 1, r"\*self refers to what holds it"),
        (f"a: {BOMB}\n", 1, "holds more than 50,000 values"),
        (f"a: [{'1, ' * 60_000}]\n", 1, "holds more than 50,000 values"),
        (f"a: [&long {'x' * 100_000}, {', '.join(['*long'] * 60)}]\n", 1, "holds more than 50,000 values"),
        ("a: 1\na: 2\n", 2, "key 'a' is given twice"),
        ('a: 1\nb: "\\ud800"\n', 2, "holds half of a surrogate pair"),
        ('a: "\\U00110000"\n', 1, "cannot be read: chr"),
        ("a: *nowhere\n", 1, "found undefined alias 'nowhere'"),
        ("a: {? [1, 2] : 3}\n", 1, "found unhashable key"),
    ],
)
def test_what_is_refused_with_file_and_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    path = tmp_path / "some.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=rf"some\.yaml, line {line}: {problem}"):
        yaml_text.read(path)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "large.yaml").write_text("#" * 1_000_001)
    (tmp_path / "other.yaml").write_bytes("ä: 1".encode("latin-1"))
    for name, problem in (
        ("none.yaml", "cannot be read: No such file"),
        ("large.yaml", "is larger than 1 MB"),
        ("other.yaml", r"is not UTF-8 text \(byte 0\)"),
        ("x" * 300, "cannot be read: File name too long"),
    ):
        with pytest.raises(UserError, match=problem):
            yaml_text.read(tmp_path / name)


def test_a_value_that_is_no_yaml_is_a_text() -> None:
    for text in ("what: is: this?", "*bold*", "@home", "[1, 2", "", "a b"):
        assert yaml_text.value(text, "--question") == (text or None)
    for text in (BOMB, "&s [*s]", "{a: 1, a: 2}", "!!int abc", "\udcff"):
        with pytest.raises(UserError, match="--question: "):
            yaml_text.value(text, "--question")


def test_a_text_is_refused_only_where_reading_it_as_yaml_is_dangerous() -> None:
    for text in ("Q: a\nA: b\nQ: c", "!!int abc", "*bold*", "R&D", "-", "x" * 5000):
        yaml_text.require_bounded(text, "model.system")
    for text in (BOMB, "&s [*s]", "[" * 100, "9" * 5000):
        with pytest.raises(UserError, match=r"model\.system: the text "):
            yaml_text.require_bounded(text, "model.system")


def test_arguments_are_utf_8_and_bounded() -> None:
    yaml_text.require_arguments(["plan", "grüße.yaml", "--model=a: b"])
    for argument in ("\udcff.yaml", f"--model={BOMB}", BOMB):
        with pytest.raises(UserError, match="argument 2: "):
            yaml_text.require_arguments(["plan", argument])
