"""Tasks of kind `reading`: what is trained, what is asked, that no question is trained on, and the bounds of a row."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from cl.data import tokenization
from cl.errors import UserError
from cl.execution.store import Store
from cl.graph.node import Node
from cl.graph.roles import STATE, data
from cl.models import pretrained
from cl.tasks import scenario
from tests.support.graph import by_label
from tests.support.reading import SETS, document, place, write_reading
from tests.support.training import execute, plan, run, write_strategy

BOUNDS = ("closed_book", "constant", "reading_bm25", "reading_oracle", "reading_random")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Node, Store, Path]:
    """The data node of the first reading task, computed."""
    folder = write_reading(tmp_path_factory.mktemp("reading"))
    graph, store = plan(folder)
    execute(folder, graph.data["first"], store)
    return graph.data["first"], store, folder


def rows(node: Node, store: Store, split: str) -> list[str]:
    """Text of each row of a split."""
    (tokenizer,) = node.parents.values()
    arrays = load_file(store.path(node) / "tokens.safetensors")
    found = pretrained.stored_tokenizer(store.path(tokenizer))
    parts = (arrays[split][start:stop] for start, stop in pairwise(arrays[f"{split}.starts"]))
    return [found.decode(part, skip_special_tokens=True) for part in parts]


def test_every_document_is_trained_on_and_no_question(first: tuple[Node, Store, Path]) -> None:
    node, store, _ = first
    trained = rows(node, store, "train")
    assert sorted(trained) == sorted(document(name) for name in SETS["first"])
    assert "?" not in "".join(trained)
    assert all((store.path(node) / f"{split}.examples.json").exists() for split in ("validation", "test"))
    assert not (store.path(node) / "train.examples.json").exists()  # questions are stored with no document


def test_questions_are_asked_without_their_document(first: tuple[Node, Store, Path]) -> None:
    node, store, _ = first
    asked = {split: tokenization.examples(store.path(node), split) for split in ("validation", "test")}
    assert sorted(e.question for each in asked.values() for e in each) == sorted(
        text for name in SETS["first"] for text in (f"Where is {name}?", f"What eats {name}?")
    )
    texts = rows(node, store, "test")
    assert texts == [f"{e.question}\n{e.answer}" for e in asked["test"]]
    studied = tokenization.documents(store.path(node))
    for split, examples in asked.items():
        about = tokenization.about(store.path(node), split)
        assert [studied[number] for number in about] == [document(e.question.split()[2][:-1]) for e in examples]
    ours = [set(tokenization.about(store.path(node), split)) for split in asked]
    assert not ours[0] & ours[1]  # a document's questions are in one split


def test_a_question_of_a_reading_task_is_in_no_training_split(tmp_path: Path) -> None:
    folder = write_reading(tmp_path)
    stolen = json.loads((folder / "form.json").read_text())
    questions = [{"question": f"WHERE  is {name}?", "answers": [{"text": "x"}]} for name in SETS["first"]]
    stolen["data"][0]["paragraphs"].append({"context": "other words", "qas": questions})
    (folder / "form.json").write_text(json.dumps(stolen))
    graph, store = plan(folder)
    execute(folder, graph.data["form"], store)
    held, place = store.result(graph.data["form"])["report"]["held_out"], store.path(graph.data["form"])
    splits = {split: tokenization.examples(place, split) for split in ("train", "validation", "test")}
    ours = {split: [e for e in each if e.question.startswith("WHERE")] for split, each in splits.items()}
    assert (ours["train"], ours["validation"]) == ([], [])
    assert held == len(SETS["first"]) - len(ours["test"]) > 0


def test_a_document_that_is_studied_is_no_control(tmp_path: Path) -> None:
    folder = write_reading(tmp_path)
    unread, first = (json.loads((folder / f"{name}.json").read_text()) for name in ("unread", "first"))
    unread["data"][0]["paragraphs"].append(first["data"][0]["paragraphs"][0])
    (folder / "unread.json").write_text(json.dumps(unread))
    found = scenario.load(str(folder / "toy.yaml"))
    with pytest.raises(UserError, match="unread: first studies one of its documents; give the two disjoint documents"):
        scenario.split(found.task("unread"), found)
    scenario.split(found.task("first"), found)


def test_documents_are_embedded_for_dense_retrieval(tmp_path: Path) -> None:
    folder = write_reading(tmp_path, strategies={"own": None})
    write_strategy(folder, "own", [{"untrained": {"tasks": "later"}}, "constant", {"dense": {"k": 1, "budget": 5}}])
    graph, store = plan(folder)
    node = graph.runs[0].rows[2].parents[data("first")]
    execute(folder, node, store)
    figures = store.result(node)["memory"]
    assert (figures["stored"], figures["shown"]) == (5, 1)
    assert 0 <= figures["own_document"] < 1  # never of questions about the seven other documents
    vectors = next(parent for role, parent in node.parents.items() if role.kind == "vectors")
    assert store.result(vectors)["texts"] == 5


def test_bounds_share_what_they_train(tmp_path: Path) -> None:
    folder = write_reading(tmp_path, strategies=dict.fromkeys(BOUNDS))
    runs = by_label(plan(folder)[0])
    form = runs["constant"].stages[0].node
    assert all(found.stages[0].node.key == form.key for found in runs.values())
    assert [len(found.stages) for found in runs.values()] == [1, 3, 1, 1, 1]
    closed = runs["closed_book"]
    assert closed.rows[1].key == closed.rows[2].key == closed.rows[3].key == runs["constant"].rows[1].key
    for label in BOUNDS[2:]:
        row = runs[label].rows[2]
        assert row.parents[STATE].key == form.key  # the state is left as it is
        assert row.parents[data("first")].kind == row.parents[data("unread")].kind == "retrieve"
        shown = row.parents[data("first")].parents
        assert [str(role.name) for role in shown if role.kind == "memory"] == ["first"]  # no example of another kind
    assert runs["reading_bm25"].rows[2].parents[data("form")].kind == "retrieve"
    assert runs["reading_oracle"].rows[2].parents[data("form")].kind == "data"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = write_reading(tmp_path_factory.mktemp("whole"), strategies=dict.fromkeys(BOUNDS))
    return folder, run(folder)


@pytest.mark.slow
def test_a_run_of_all_bounds(whole: tuple[Path, dict[str, Any]]) -> None:
    _, result = whole
    found = {each["strategy"]: each for each in result["runs"]}
    for each in found.values():
        assert {"em", "em_cut_to_reference", "f1", "strict"} <= each["matrix"]["3"]["first"]["scores"].keys()
        assert each["matrix"]["3"]["first"]["scores"]["em"] <= each["matrix"]["3"]["first"]["scores"]["f1"]
    memory = {label: found[f"reading_{label}"]["memory"]["3"] for label in ("bm25", "oracle", "random")}
    assert memory["oracle"]["first"]["own_document"] == memory["oracle"]["second"]["own_document"] == 1
    assert memory["bm25"]["first"]["own_document"] > memory["random"]["first"]["own_document"]
    assert "own_document" not in memory["bm25"]["unread"]
    stored = sum(len(document(name)) for name in [*SETS["first"], *SETS["second"]])
    assert {memory[label]["first"]["bytes"] for label in memory} == {stored}
    assert "memory" not in found["closed_book"] or not found["closed_book"]["memory"]


@pytest.mark.slow
def test_what_stands_before_a_question_is_a_document(whole: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = whole
    graph, store = plan(folder)
    oracle = by_label(graph)["reading_oracle"].rows[3].parents[data("second")]
    asked = tokenization.examples(store.path(oracle), "test")
    arrays = load_file(store.path(oracle) / "tokens.safetensors")
    tokenizer = pretrained.stored_tokenizer(store.path(graph.base.parents[next(iter(graph.base.parents))]))
    for example, (start, stop) in zip(asked, pairwise(arrays["test.starts"]), strict=True):
        name = example.question.split()[2][:-1]
        text = tokenizer.decode(arrays["test"][start:stop], skip_special_tokens=True)
        assert text == f"{document(name)}\n\n{example.question}\n{example.answer}"
        assert place(name) in text
