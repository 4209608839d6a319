"""Data nodes hold the same splits, order and tokens as ever, however documents are read and kept.

The hashes are those of the nodes that lists of documents in memory made. To pin again: PIN=1 pytest THIS_FILE.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from safetensors.numpy import load_file

from cl.config.model import Model
from cl.graph.roles import TOKENIZER, Inputs
from cl.graph.specs import DataSpec, Local
from cl.steps import data
from cl.steps import tokenizer as tokenizer_
from cl.tasks import scenario
from cl.tasks.article import Article
from cl.tasks.documents import Document
from cl.tasks.example import Example
from cl.tasks.passage import Passage
from cl.tasks.scenario import Part, Scenario, Task
from scenarios.sources.files import Files
from tests.support.steps import context

PINNED = Path(__file__).with_name("token_arrays.json")
CHAT = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@dataclass
class Given:
    """A source of documents at hand."""

    found: Sequence[Document]
    licence: str = "none"
    about: str = "given"

    def documents(self) -> Iterator[Document]:
        return iter(self.found)

    def fingerprint(self) -> str:
        return repr(self.found)


def text(seed: int, count: int) -> list[str]:
    """Documents of 1 to 60 words; some are empty, some occur again, written otherwise; some hold a special token."""
    draw = random.Random(seed)
    words = [f"{draw.choice('abcdefgh')}{number:x}ö" for number in range(300)]
    found: list[str] = []
    for number in range(count):
        written = " ".join(draw.choices(words, k=draw.randint(1, 60)))
        again = found and number % 7 == 0
        found.append(f"  {draw.choice(found).upper()}\n" if again else "" if number % 31 == 0 else written)
    return [*found, "one <|endoftext|> two", *text(0, 20)] if seed else found


def write(folder: Path) -> dict[str, Files]:
    """The same kind of text in each format; returns the sources."""
    rows = [[{"body": each, "number": n} for n, each in enumerate(text(seed, 200))] for seed in (1, 2, 3)]
    lines = ["".join(json.dumps(row) + "\n" for row in part).encode() for part in rows]
    (folder / "lines.jsonl").write_bytes(lines[0])
    (folder / "packed.jsonl.gz").write_bytes(gzip.compress(lines[1], mtime=0))
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows[2]), folder / "table.parquet", row_group_size=50)
    (folder / "plain.txt.gz").write_bytes(gzip.compress("\r\n\r\n".join(text(4, 200)).encode(), mtime=0))
    (folder / "array.json").write_text(json.dumps(rows[0][:50]), encoding="utf-8")
    tables = dict.fromkeys(("lines.jsonl", "packed.jsonl.gz", "table.parquet", "array.json"), "body")
    found = {name.split(".")[0]: Files(name, column=column, folder=str(folder)) for name, column in tables.items()}
    return found | {"plain": Files("plain.txt.gz", separator="\n\n", folder=str(folder))}


def questions(seed: int, count: int, stated: bool = False, **more: Any) -> list[Example]:
    """Examples; some questions occur again with another answer, and some are stated for a split."""
    draw = random.Random(seed)
    splits: list[Any] = ["train", "train", "test"] if stated else [None]
    return [
        Example(f"what is {draw.randint(0, 2 * count)} and  {seed % 3}?", str(number), "number",
                split=splits[number % len(splits)], **more)
        for number in range(count)
    ]  # fmt: skip


def dialogues(count: int) -> list[Example]:
    """Rows of dialogues, two of each."""
    first = [(("system", "be brief"), ("user", f"begin {number}")) for number in range(count)]
    turns = [(each, (*each, ("assistant", "yes"), ("user", "go on"))) for each in first]
    return [Example("and then?", f"{n}", "phrase", history=history) for n, both in enumerate(turns) for history in both]


def sets(folder: Path) -> Scenario:
    """Every kind of set, in several sources with and without limits."""
    files = write(folder)
    articles = [
        Article(f"n{n} lives in n{n}town. n{n} eats figs.", (Example(f"Where is n{n}?", f"n{n}town", "phrase"),
                Example(f"What eats n{n}{n % 9}?", "figs", "phrase")), ((0, 9),) if n % 2 else None)
        for n in range(40)
    ]  # fmt: skip
    passages = [Passage(f"stone {n} b", f"brick {n}") for n in range(60)]
    pairs = [Example(f"which {n}?", "this", "phrase", rejected=f"that {n}") for n in range(60)]

    def part(found: Any, limit: int | None = None) -> Part:
        return Part(found, limit)

    tasks = {
        "text": Task("text", (part(files["lines"]), part(files["packed"]), part(files["plain"]))),
        "capped": Task(
            "capped", (part(files["plain"], 9000), part(files["table"]), part(files["lines"], 50)), limit=30000
        ),
        "array": Task("array", (part(files["array"]),)),
        "free": Task("free", (part(Given(questions(1, 90))), part(Given(questions(1, 90)), 1500)), "instruction"),
        "stated": Task("stated", (part(Given(questions(2, 90, True))), part(Given(questions(1, 30)))), "instruction"),
        "dialogues": Task("dialogues", (part(Given(dialogues(60))),), "instruction"),
        "reading": Task("reading", (part(Given(articles[:30])),), "reading"),
        "passages": Task("passages", (part(Given(passages), 600),), "passage"),
    }
    retain = {
        "kept": Task("kept", (part(files["table"], 4000), part(files["plain"])), limit=6000),
        "unread": Task("unread", (part(Given(articles[30:])),), "reading"),
    }
    general = {"pairs": Task("pairs", (part(Given(pairs)),), "preference")}
    return Scenario("all", 1, "every kind", tasks, retain, 0.2, 0.3, 4, general=general)


def tokenizer(folder: Path) -> Path:
    """A tokenizer with a chat template."""
    found = tokenizer_._train_bpe(iter(text(9, 300)), 400)
    found.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    found.eos_token, found.chat_template = "<|im_end|>", CHAT
    found.save_pretrained(folder)
    return folder


def contents(folder: Path, result: dict[str, Any]) -> str:
    """Hash of the arrays by name, whatever their type, of all other files, and of what the node tells."""
    total = hashlib.sha256(json.dumps(result, sort_keys=True).encode())
    for name, array in sorted(load_file(folder / "tokens.safetensors").items()):
        total.update(f"{name} {array.shape}".encode() + array.astype(np.int64).tobytes())
    for path in sorted(folder.glob("*.json")):
        plain = path.read_bytes().replace(b', "asked": "user"', b"")  # younger than the pins
        total.update(path.name.encode() + plain)
    return total.hexdigest()[:16]


ASKED = {
    **{name: (name, None) for name in ("text", "capped", "array", "free", "stated", "dialogues", "reading", "passages",
                                       "kept", "unread", "pairs")},
    "plain:free": ("free", "plain"),
    "both:pairs": ("pairs", "both"),
}  # fmt: skip


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scenario, Path]:
    folder = tmp_path_factory.mktemp("given")
    return sets(folder), tokenizer(folder / "tokenizer")


@pytest.mark.parametrize("name", ASKED)
def test_splits_order_and_tokens_are_as_pinned(
    name: str, given: tuple[Scenario, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    defined, stored = given
    monkeypatch.setattr(scenario, "load", lambda name: defined)
    task, view = ASKED[name]
    step = context(tmp_path, Local("any", Model(name="any")))
    result = data.run(DataSpec(task, "content", view=view), Inputs({TOKENIZER: stored}), step)
    found = contents(step.out, result)
    pinned = json.loads(PINNED.read_text(encoding="utf-8")) if PINNED.exists() else {}
    if os.environ.get("PIN"):
        pinned[name] = found
        PINNED.write_text(json.dumps(pinned, indent=1) + "\n", encoding="utf-8")
    assert pinned[name] == found
