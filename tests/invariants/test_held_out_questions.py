"""A question that one source holds back as test is trained on by none, whatever its set and whichever comes first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cl.tasks.example import Example
from cl.tasks.scenario import Scenario, load
from cl.tasks.scenario import split as divide


def questions(folder: Path, **tasks: list[dict[str, str]]) -> Scenario:
    """A scenario of instruction tasks; a task whose rows have a `split` states it."""
    stated = {}
    for name, rows in tasks.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        source = {"source": "examples", "path": f"{name}.jsonl"}
        stated[name] = {"kind": "instruction", "sources": [source | ({"split": "split"} if "split" in rows[0] else {})]}
    shares = {"validation": 0.2, "test": 0.2}
    content = {"summary": "x", "version": 1, "tasks": stated, "split": shares}
    (folder / "s.yaml").write_text(yaml.safe_dump(content))
    return load(str(folder / "s.yaml"))


SPLITS = ("train", "validation", "test")
WORDS = [f"question {number}" for number in range(40)]


def test_no_task_trains_on_what_another_states_as_test(tmp_path: Path) -> None:
    free = [{"question": text, "answer": "a"} for text in WORDS]
    held = [
        {"question": text.upper(), "answer": "b", "split": "test" if i < 20 else "train"}
        for i, text in enumerate(WORDS)
    ]
    found = questions(tmp_path, free=free, held=held)
    trained = {text.question for text in divide(found.task("free"), found).train if isinstance(text, Example)}
    assert trained
    assert not trained & set(WORDS[:20])
    report = divide(found.task("free"), found).report
    assert report.held_out > 10
    assert report.documents["test"] + report.documents["validation"] + report.documents["train"] + report.held_out == 40
    alone = questions(tmp_path, free=free)
    assert alone.fingerprint("free") != found.fingerprint("free")
    apart = questions(tmp_path, free=free, held=[row | {"question": f"other {row['question']}"} for row in held])
    assert apart.fingerprint("free") == alone.fingerprint("free")  # what does not meet moves no key


@pytest.mark.parametrize("order", [("train", "test"), ("test", "train")])
def test_the_order_of_a_task_s_sources_decides_nothing(order: tuple[str, str], tmp_path: Path) -> None:
    for name in order:
        rows = [{"question": text, "answer": name, "split": name} for text in (WORDS if name == "train" else WORDS[:9])]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = [{"source": "examples", "path": f"{name}.jsonl", "split": "split"} for name in order]
    content = {"summary": "x", "version": 1, "tasks": {"one": {"kind": "instruction", "sources": sources}}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(content | {"split": {"validation": 0.2, "test": 0.2}}))
    found = load(str(tmp_path / "s.yaml"))
    splits = divide(found.task("one"), found)
    assert sorted(str(text) for text in splits.test) == sorted(f"{text}\n→ test" for text in WORDS[:9])
    assert splits.report.held_out == 9
    assert len(splits.train) + len(splits.validation) == 31


def test_what_one_set_states_as_test_is_in_no_other_s_validation(tmp_path: Path) -> None:
    def rows(split: str) -> list[dict[str, str]]:
        other = [{"question": f"{split} {text}", "answer": "a", "split": SPLITS[i % 3]} for i, text in enumerate(WORDS)]
        return [{"question": WORDS[0], "answer": "a", "split": split}, *other]

    found = questions(tmp_path, one=rows("validation"), two=rows("test"))
    one, two = (divide(found.task(name), found) for name in ("one", "two"))
    assert one.report.held_out == 1
    assert WORDS[0] not in [example.question for example in one.validation if isinstance(example, Example)]
    assert WORDS[0] in [example.question for example in two.test if isinstance(example, Example)]
