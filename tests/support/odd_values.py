"""Values, bytes and words that people and programs write by mistake, and files in which they replace what is right."""

from __future__ import annotations

import copy
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.support.training import EXPERIMENT, SCENARIO

BOMB = "[&a [x,x,x,x,x,x,x,x,x], " + ", ".join(
    f"&{new} [{','.join([f'*{old}'] * 9)}]" for old, new in zip("abcdefghi", "bcdefghij", strict=True)
)
ODD = (
    ".nan", ".inf", "-.inf", "-1", "0", "-5", "1", "7", "0.5", "-0.5", "1.5", "1e400", "1.0e+15", "1000000000000000",
    "9" * 5000, "-" + "9" * 400, "0x" + "f" * 5000, "0b" + "1" * 9000, "1:" + "59:" * 4000 + "5", "null", "~", "''",
    "true", "no", "[]", "{}", "[[]]", "{a: }", "[1, .nan]", "[.inf]", "[null]", "{x: .nan}", "[[.nan, 1]]",
    "{? [1, 2] : 3}", "{1: 2}", "{null: 1}", "{true: x}", "2026-13-45", "2026-01-01", "!!int abc", "!!float x",
    "!!bool maybe", "!!null x", "!!timestamp 99", "!!binary '***'", "!!binary aGVsbG8=", "!!set {a, b}",
    "!!omap [a: 1]", "!!omap 3", "!!pairs [a: 1]", "!!str [a]", "!!seq {a: 1}", "!!map [1]", "!own x",
    "!!python/object/apply:os.system ['true']", "!!python/name:os.system", "&s [*s]", "&s {a: *s}", "*nowhere",
    "{<<: 3}", "{<<: [1]}", "{<<: {a: 1}}", "&m {<<: *m}", "[" * 60 + "]" * 60, "[" * 2000 + "]" * 2000,
    "{a: " * 1500 + "1" + "}" * 1500, "[1, 2", "{a: 1", "'open", '"\\ud800"', '"\\udc80 x"', '"\\0"', '"a\\nb"',
    '"\\e[31m"', '"\\u202e"', "x" * 300, "x" * 5000, "ü" * 200, "[/]", "'[red]x[/]'", "'[/nothing]'", "st[/]ore",
    "a?b", "a#b", "'%41'", "../..", "/", "a/b", "nowhere.yaml", "garbage", "'@'", "`", "english", "[english, german]",
    "[german]", "{english: 1024}", "{english: -1, german: 5}", "{english: .nan}", "{value: 1, low: .nan, high: 2}",
    "{value: .nan, choices: [.nan, 1]}", "{value: 1, low: 0, high: .inf}", "{value: 1, choices: [1, [2]]}",
    "{value: [1], choices: [[1], {a: 2}]}", "{value: 1, low: 0, high: 2, step: 0}",
    "{value: 1, low: 0, high: 2, step: -1}", "{value: 1, low: 0, high: 2, step: .nan}",
    "{value: 1, low: 0, high: 2, log: maybe}", "{sample: -1}", "{sample: .nan}", "{sample: 1, seed: -3}",
    "{sample: 1000000000000}", "{from: null}", "{from: 3}", "{from: [a]}", "{from: " + "y" * 400 + "}", "[a, *b]",
    BOMB + ", *j]", "{x: " + BOMB + ", *j]}",
)  # fmt: skip
BYTES = (
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\x1b[31m", b"\t", b"\xc3", b":", b"- ", b"&a ", b"*a ", b"!!int ", b"{",
    b"[", b"'", b'"', b"? ", b"<<: ", b"%YAML 9\n---\n", b"--- x\n--- y\n", b"\xe2\x80\xa8", b"\xef\xbb\xbf",
)  # fmt: skip
WORDS = (
    "tuned", "strategies", "tasks", "sources", "orders", "x" * 260, "a.b", "a..b", ".", "", "-", "[/]", "é", "\ud800",
)  # fmt: skip
NAMES = (
    "x" * 255, "x" * 256, "é" * 128, "x/" * 3000, "[/]", "[bold", "a[/b]c", "?", "a?b=c", "#", "a b", "", ".", "..",
    "con", "file://x", "s3://", "memory://x", "sqlite:///", "sqlite:////nowhere/x.db", "garbage", "mysql://u:p@h/x",
    "http://", "nosuch://b", "~", "~nobody/x", "$HOME", "x\0y", "\ud800", "a\nb", "toyexp.yaml", "english.txt",
    "english.txt/x", "/proc/x", "/dev/null",
)  # fmt: skip
SOURCES: dict[str, dict[str, Any]] = {
    "files": {"path": "english.txt"},
    "examples": {"path": "english.txt", "labels": ["a"], "style": "label"},
    "dialogues": {"path": "english.txt", "form": "openai"},
    "reasoning_gym": {"dataset": "gcd", "items": 20, "style": "number", "seed": 0, "remove": ["x"], "config": {}},
    "german_nouns": {"items": 20, "seed": 0},
    "home_intents": {"intents": ["HassTurnOn"], "items": 20, "seed": 0, "language": "en", "form": "label"},
    "function_calls": {"longest": 600},
    "preferences": {"of": {"source": "german_nouns", "items": 20}, "rejected": "both"},
    "findings": {"form": "questions", "terms": 400, "seed": 0},
    "trace": {"path": ".", "task": "x"},
    "cl_benchmark": {"path": ".", "dataset": "NLI/MNLI"},
    "coin": {"path": "english.txt"},
    "clinc": {"path": ".", "domains": ["banking"]},
    "hub": {"path": ".", "split": "train"},
    "packaged": {"corpus": "hpo"},
}


@dataclass
class Case:
    """A broken input in the working directory.

    Args:
        kind: name of the function that made it.
        number: seed.
        arguments: arguments of `cl`.
        about: what is wrong with it, for people.
    """

    kind: str
    number: int
    arguments: list[str]
    about: str = ""


class Inputs:
    """The toy's files as plain data, in which a value can be replaced by any text."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.files: dict[str, Any] = {"toyexp.yaml": copy.deepcopy(EXPERIMENT), "toy.yaml": copy.deepcopy(SCENARIO)}
        self.texts: dict[str, str] = {}
        self.settings: list[str] = []
        self.about: list[str] = []

    def odd(self) -> str:
        """A mark that stands for an odd value in the files, sometimes as a text in quotes."""
        mark = f"MARK{len(self.texts)}KRAM"
        found = self.chance.choice(ODD)
        quoted = self.chance.random() < 0.15
        self.texts[mark] = "'" + found.replace("'", "''") + "'" if quoted else found
        self.about.append(self.texts[mark][:60])
        return mark

    def put(self, file: str, key: str, value: Any) -> None:
        """Set a value at a dotted key."""
        *path, last = key.split(".")
        here = self.files.setdefault(file, {})
        for name in path:
            if not isinstance(here.get(name), dict):
                here[name] = {}
            here = here[name]
        here[last] = value
        self.about.append(f"{file} {key}"[:90])

    def write(self, folder: Path) -> None:
        """Write the files."""
        for name, content in self.files.items():
            text = content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False, width=10**6)
            for mark, odd in self.texts.items():
                text = text.replace(mark, odd)
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
