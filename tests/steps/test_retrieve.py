"""Retrieve nodes: what stands before a question, that no test question is ever among it, and a whole run of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from cl.data import tokenization
from cl.errors import UserError
from cl.execution.store import Store
from cl.graph.measurement_specs import RetrieveSpec
from cl.graph.node import Node
from cl.graph.roles import STATE, TOKENIZER, Inputs, Role, data
from cl.graph.specs import Packing
from cl.methods.retrieves import Recall, Retrieves
from cl.models import pretrained
from cl.registry import Named
from cl.steps.retrieve import _best
from cl.tasks.example import Example
from cl.tasks.splitting import normal
from tests.support.instruction import write_stream
from tests.support.training import execute, plan, run

SETS = ("copy", "which")


def computed(folder: Path, *settings: str, row: int = 2, name: str = "copy") -> tuple[Node, Store]:
    """The retrieve node of a set in a row of R, computed."""
    graph, store = plan(write_stream(folder, strategies={"retrieval_bm25": None}), *settings)
    node = graph.runs[0].rows[row].parents[data(name)]
    execute(folder, node, store)
    return node, store


def lines(folder: Path) -> list[list[tuple[str, int]]]:
    """What is shown before each question."""
    return [[(task, n) for task, n in json.loads(line)] for line in (folder / "shown.jsonl").read_text().splitlines()]


def memory(node: Node, store: Store) -> dict[str, list[Example]]:
    """The stored examples of a retrieve node by task, in the order of learning."""
    places = [(place, task) for place, task in enumerate(SETS) if Role("memory", place, task) in node.parents]
    folders = {task: store.path(node.parents[Role("memory", place, task)]) for place, task in places}
    return {task: tokenization.examples(folder, "train") for task, folder in folders.items()}


def read(node: Node, store: Store) -> tuple[list[str], list[str]]:
    """Text before the answer of each row, and the answers."""
    tokenizer = pretrained.stored_tokenizer(store.path(node.parents[TOKENIZER]))
    arrays = load_file(store.path(node) / "tokens.safetensors")
    starts, answers = arrays["test.starts"], arrays["test.answers"]
    rows = [arrays["test"][start:stop] for start, stop in pairwise(starts)]
    return (
        [tokenizer.decode(row[:n], skip_special_tokens=True) for row, n in zip(rows, answers, strict=True)],
        [tokenizer.decode(row[n:], skip_special_tokens=True) for row, n in zip(rows, answers, strict=True)],
    )


def test_what_is_shown_stands_before_the_question_with_its_answer(tmp_path: Path) -> None:
    node, store = computed(tmp_path)
    known = memory(node, store)
    asked = tokenization.examples(store.path(node), "test")
    texts, answers = read(node, store)
    for example, names, text, answer in zip(asked, lines(store.path(node)), texts, answers, strict=True):
        found = [known[task][number] for task, number in names]
        before = "".join(f"{each.question}\n{each.answer}\n\n" for each in found)
        assert text == f"{before}{example.question}\n"
        assert answer == example.answer
    assert any(lines(store.path(node)))


def test_the_rows_are_those_that_are_measured_without_a_memory(tmp_path: Path) -> None:
    node, store = computed(tmp_path, "--evaluation.tokens=64", "--evaluation.items=6")
    plain = store.path(node.parents[data("copy")])
    lengths = np.diff(load_file(plain / "tokens.safetensors")["test.starts"]) - 1
    count = int((lengths.cumsum() <= 64).sum())
    assert store.result(node)["window"] == {"rows": count, "longest": 64}
    asked = tokenization.examples(plain, "test")[: max(count, 6)]
    assert tokenization.examples(store.path(node), "test") == asked
    assert count > 6


def test_examples_are_dropped_until_the_longest_answer_fits(tmp_path: Path) -> None:
    node, store = computed(tmp_path, "--strategy.bm25.k=60")
    figures = store.result(node)["memory"]
    arrays = load_file(store.path(node) / "tokens.safetensors")
    longest = int((np.diff(arrays["test.starts"]) - arrays["test.answers"]).max())
    assert int(arrays["test.answers"].max()) <= 64 - longest - 8
    assert figures["dropped"] > figures["shown"] > 0
    wide, store = computed(tmp_path, "--strategy.bm25.k=60", "--strategy.bm25.context=512")
    assert store.result(wide)["memory"]["shown"] > figures["shown"]


def test_figures(tmp_path: Path) -> None:
    node, store = computed(tmp_path)
    figures, shown = store.result(node)["memory"], lines(store.path(node))
    every = [example for found in memory(node, store).values() for example in found]
    assert figures["stored"] == len(every)
    assert figures["bytes"] == sum(len(f"{e.question}\n{e.answer}".encode()) for e in every)
    assert figures["shown"] == pytest.approx(np.mean([len(each) for each in shown]))
    assert figures["own_task"] == pytest.approx(np.mean([task == "copy" for each in shown for task, _ in each]))
    assert figures["read"] == pytest.approx(load_file(store.path(node) / "tokens.safetensors")["test.answers"].mean())
    plain = load_file(store.path(node.parents[data("copy")]) / "tokens.safetensors")["test.answers"]
    assert figures["alone"] == pytest.approx(plain[: len(shown)].mean())
    assert 0 < figures["seconds"] < 10
    assert figures["dropped"] == 0


@dataclass(eq=False)
class First(Retrieves):
    """Every stored example alike."""

    def scores(self, recall: Recall) -> Any:
        return np.zeros((len(recall.asked), len(recall.stored)))


def test_the_question_itself_is_never_shown_with_its_answer() -> None:
    """Two benchmarks may state one question in different splits, so a memory can hold what is asked."""
    known = {("a", 0): Example("Is it so?", "Yes", "phrase"), ("b", 0): Example("Why?", "So.", "phrase")}
    asked = [Example("is it  SO?", "No", "phrase"), Example("Who?", "Me", "phrase")]
    spec = RetrieveSpec("a", Named("first", {}), 1, 1, Packing(8, True), 8)
    assert _best(First(k=2), spec, Inputs({}), known, asked) == [[("b", 0)], [("a", 0), ("b", 0)]]


STRATEGIES = ("bm25", "dense", "pagerank", "in_context", "random")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run of all strategies that retrieve."""
    folder = write_stream(tmp_path_factory.mktemp("whole"), strategies={f"retrieval_{s}": None for s in STRATEGIES})
    return folder, run(folder)


@pytest.mark.slow
def test_a_run_trains_nothing_and_never_shows_a_test_question(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, result = whole
    graph, store = plan(folder)
    assert (result["asked"], result["executed"]) == (0, 0)
    assert not [node for node in graph.nodes if node.kind == "train"]
    tests = {normal(e) for name in SETS for e in tokenization.examples(store.path(graph.data[name]), "test")}
    for planned in graph.runs:
        assert {row.parents[STATE].key for row in planned.rows.values()} == {graph.base.key}
        for shown in planned.memory.values():
            for node in shown.values():
                known = memory(node, store)
                found = {normal(known[task][number]) for names in lines(store.path(node)) for task, number in names}
                assert found
                assert not found & tests


@pytest.mark.slow
def test_a_segment_is_asked_while_others_join_the_memory(whole: tuple[Path, dict[str, Any]]) -> None:
    """The fixed-segment test of HippoRAG 2: the column of the first task, over the rows of a growing index."""
    _, result = whole
    (bm25,) = [each for each in result["runs"] if each["strategy"] == "retrieval_bm25"]
    curve = [bm25["matrix"][str(t)]["copy"]["nll"] for t in (0, 1, 2)]
    assert len(set(curve)) == 3
    own = [bm25["memory"][str(t)]["copy"]["own_task"] for t in (1, 2)]
    assert own[0] == 1.0 > own[1]  # the other task's examples take the place of the segment's
    tokens = {row["copy"]["tokens"] for row in bm25["matrix"].values()}
    assert len(tokens) == 1  # the same answers are measured in each row


@pytest.mark.slow
def test_what_is_shown_is_told_everywhere(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, result = whole
    out = folder / "results" / "toyexp"
    page = (out / "report.html").read_text(encoding="utf-8")
    assert "Memories beside the weights" in page
    table = (out / "memory.csv").read_text(encoding="utf-8").splitlines()
    assert table[0] == "run,row,set,figure,value"
    assert any(line.startswith("retrieval_dense-copy-which-seed0,2,which,bytes,") for line in table)
    dense, words = (each["memory"]["2"]["copy"] for name in ("dense", "bm25") for each in result["runs"]
                    if each["strategy"] == f"retrieval_{name}")  # fmt: skip
    assert dense["bytes"] > words["bytes"]  # a vector beside each text
    assert run(folder)["runs"] == result["runs"]  # from a full store


def test_rows_longer_than_the_context_are_refused_while_planning(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"retrieval_bm25": None})
    with pytest.raises(UserError, match=r"bm25: bm25: context: 513 is more than the 512 tokens that the model"):
        plan(folder, "--strategy.bm25.context=513")
    with pytest.raises(UserError, match=r"context: 63 is less than train.sequence, 64; raise it, or leave it out"):
        plan(folder, "--strategy.bm25.context=63")
    plan(folder, "--strategy.bm25.context=512")
