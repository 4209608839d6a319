"""Answers read from the store: counted by hand, checked against their record, and refused where they are damaged."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cl import cli
from cl.execution import answers
from cl.execution.records import DamageError
from cl.execution.store import Store
from cl.graph.node import Node
from cl.metrics.records import Cell, RunResult
from cl.tasks.example import Example
from tests.support.instruction import write_stream
from tests.support.results import one_run
from tests.support.stored import compute, node

REFERENCES = ["Yes", "No", "No"]
SCORES = ("strict", "format_ok", "graded")


def lines(*items: dict[str, Any]) -> str:
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items)


def row(store: Store, seed: int, strict: list[float]) -> Node:
    """A stored row of R: three answers to the set `which`, the last score no matter of right and wrong."""
    made = node(seed)
    items = [
        {
            "question": f"q{i}",
            "reference": reference,
            "answer": "a\u2028b",
            "strict": value,
            "format_ok": i > 0,
            "graded": 0.5,
        }
        for i, (reference, value) in enumerate(zip(REFERENCES, strict, strict=True))
    ]
    compute(store, made, {"items/which.jsonl": lines(*items)})
    return made


def asked(store: Store, *references: str) -> Node:
    """A stored data node whose test questions have these references, and one more that was not asked."""
    made = node(99)
    found = [dataclasses.asdict(Example("q", answer, "label", ("Yes", "No"))) for answer in (*references, "Yes")]
    compute(store, made, {"test.examples.json": json.dumps(found)})
    return made


def run_of(*rows: Node) -> RunResult:
    cell = Cell(1.0, 1, 1.0, dict.fromkeys(SCORES, 0.5), items=3)
    matrix = {t: {"which": cell, "text": Cell(1.0, 1, 1.0)} for t in range(len(rows))}
    keys = {t: each.key for t, each in enumerate(rows)}
    return dataclasses.replace(one_run({}, ["which"]), matrix=matrix, matrix_keys=keys)


def test_answers_of_all_rows_are_collected(store: Store) -> None:
    rows = row(store, 0, [0.0, 1.0, 0.0]), row(store, 1, [1.0, 1.0, 0.0])
    found = answers.with_answers(run_of(*rows), {"which": asked(store, *REFERENCES)}, "test", answers.Reader(store))
    assert found.answers == {  # the graded score is neither right nor wrong
        0: {"which": {"strict": "010", "format_ok": "011"}},
        1: {"which": {"strict": "110", "format_ok": "011"}},
    }
    assert found.options == {"which": 2}


def test_options_of_other_references_are_unknown(store: Store) -> None:
    found = answers.with_answers(
        run_of(row(store, 0, [0.0, 0.0, 0.0])), {"which": asked(store, "No", "No", "No")}, "test", answers.Reader(store)
    )
    assert found.options == {}


def test_scores_after_the_last_task_name_their_questions(store: Store) -> None:
    run = run_of(row(store, 0, [0.0, 0.0, 0.0]), row(store, 1, [1.0, 0.0, 1.0]))
    assert answers.after_the_last_task([run], store, "strict") == {
        "hand": {"seed 0, which": {"which": [("q0", 1.0), ("q1", 0.0), ("q2", 1.0)]}}
    }
    assert answers.after_the_last_task([run], store, "strict", skip=1) == {"hand": {"seed 0, which": {}}}


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_damaged_file_is_never_counted(local: Store, damage: str) -> None:
    made = row(local, 0, [0.0, 1.0, 0.0])
    file = Path(local.root) / "nodes" / made.key / "items" / "which.jsonl"
    if damage == "missing":
        file.unlink()
    else:
        file.write_text(file.read_text().replace("q1", "q7"))
    with pytest.raises(DamageError, match=rf"which.jsonl is {damage}"):
        answers.with_answers(run_of(made), {"which": asked(local, *REFERENCES)}, "test", answers.Reader(local))


def items(key: str, name: str) -> list[float]:
    text = (Path("store/nodes") / key / "items" / f"{name}.jsonl").read_text()
    return [json.loads(line)["normalised"] for line in text.splitlines()]


@pytest.mark.slow
def test_a_run_of_two_tasks_says_what_its_stored_answers_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All figures of the table of transitions, counted again from the files of answers."""
    changes = {"strategies": {"rewarm": None}, "orders": [["which", "copy"]]}
    with contextlib.chdir(write_stream(tmp_path, examples=8 * 30, evaluation={"items": 20}, **changes)):
        assert cli.main(["run", "toyexp.yaml", "--store=store"]) == 0
        raw = json.loads(Path("results/toyexp/results.json").read_text())["runs"][0]
        assert raw["options"] == {"which": 2.0}  # copied words are free
        header, *found = Path("results/toyexp/transitions.csv").read_text().splitlines()
        lines = [dict(zip(header.split(","), line.split(","), strict=True)) for line in found]
        assert len(lines) == 3 * 2 * 3  # pairs of rows, sets, scores
        for line in lines:
            if line["score"] != "normalised":
                continue
            before, after = (items(raw["matrix_keys"][line[end]], line["set"]) for end in ("from", "to"))
            forgotten = sum(b > a for b, a in zip(before, after, strict=True))
            gained = sum(a > b for b, a in zip(before, after, strict=True))
            assert [int(line[key]) for key in ("questions", "forgotten", "gained")] == [len(before), forgotten, gained]
            if line["set"] == "which":
                wrong = (1 - sum(before) / len(before)) * (1 - sum(after) / len(after))
                assert float(line["chance"]) == pytest.approx(wrong)  # k - 1 = 1
        learned, later = (
            next(each for each in lines if (each["set"], each["score"], each["from"]) == ("which", "normalised", t))
            for t in "01"
        )
        assert int(learned["gained"]) > 0
        assert int(later["forgotten"]) > 0
