"""General sets: views of examples as text, preferences as pairs of rows, columns of R, and what may be mixed in."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from safetensors.numpy import load_file
from transformers import AutoTokenizer

from cl.data.batches import IGNORE, PairRows, collate, rows
from cl.data.tokenization import as_text, examples
from cl.errors import UserError
from cl.graph.shared_nodes import Ground
from cl.tasks.example import Example
from cl.tasks.scenario import load, split
from scenarios.sources.preferences import Preferences
from tests.mixture_fixture import write_mixture
from tests.training_fixture import execute, plan, run, write_strategy

PREFERENCES = {"kind": "preference", "sources": [{"source": "examples", "path": "copy.jsonl"}]}
MIXTURE = {"knowledge_mixture": {"shares": {"chat": 0.25, "liked": 0.25}}}


def mixed(folder: Path, *methods: Any, name: str = "mixed") -> Path:
    write_mixture(folder, strategies={name: None})
    write_strategy(folder, name, ["rewarm_cosine", *(methods or [MIXTURE])])
    return folder


def test_an_example_as_text() -> None:
    example = Example("2 + 2?", "4", "number", rejected="5")
    assert as_text("a document") == ["a document"]
    assert as_text(example) == ["2 + 2?\n4"]
    assert as_text(example, both=True) == ["2 + 2?\n4", "2 + 2?\n5"]


def test_shares_are_exact_in_every_prefix_and_nothing_is_added(tmp_path: Path) -> None:
    found = run(mixed(tmp_path))
    for stage in found["runs"][0]["stages"]:
        tokens = stage["points"][-1]["seen"]
        assert set(tokens) == {stage["name"], "plain:chat", "plain:liked"}
        assert tokens[stage["name"]] == 64 * 12
        assert tokens["plain:chat"] == tokens["plain:liked"] == 64 * 6
    assert set(found["runs"][0]["matrix"]["1"]) == {"english", "german", "chat"}  # preferences are not measured
    assert found["runs"][0]["matrix"]["1"]["chat"]["scores"].keys() == {"strict", "normalised", "format_ok"}


def test_a_view_has_no_chat_marker_and_keeps_to_the_split_of_the_questions(tmp_path: Path) -> None:
    folder = mixed(tmp_path)
    graph, store = plan(folder)
    node = graph.runs[0].stages[0].node
    view, chat = node.parents["data/plain:chat"], graph.data["chat"]
    for wanted in (view, chat):
        execute(folder, wanted, store)
    assert view.key != chat.key
    arrays = load_file(store.path(view) / "tokens.safetensors")
    assert set(arrays) == {"train", "validation", "test"}
    tokenizer = AutoTokenizer.from_pretrained(store.path(node.parents["tokenizer"]))
    text = tokenizer.decode(arrays["train"].tolist())
    assert all(f"{one.question}\n{one.answer}" in text for one in examples(store.path(chat), "train"))
    assert not any(one.question + "\n" in text for one in examples(store.path(chat), "test"))
    assert "<|im_start|>" not in text


def test_a_pair_is_two_rows_of_one_question(tmp_path: Path) -> None:
    folder = mixed(tmp_path)
    graph, store = plan(folder)
    with contextlib.chdir(folder):
        node = Ground(graph.experiment, graph.scenario).set("liked")
    execute(folder, node, store)
    found = rows(store.path(node), "liked", "train", 64)
    assert isinstance(found, PairRows)
    better, worse = found[0], found[0].rejected
    assert worse is not None
    start = int(found.dialogues.answers[0])
    assert better.ids[:start].tolist() == worse.ids[:start].tolist()
    assert better.ids.tolist() != worse.ids.tolist()
    assert found.lengths[0] == len(better.ids) + len(worse.ids) - 2
    batch = collate([found[0], found[1]], 0)
    assert len(batch.ids) == 4
    assert batch.ids[1, : len(worse.ids)].tolist() == worse.ids.tolist()
    assert batch.targets is not None
    assert (batch.targets[0] != IGNORE).any()


def test_a_worse_answer_need_not_be_one_of_the_labels(tmp_path: Path) -> None:
    folder = write_mixture(tmp_path)
    labels = [
        {"question": f"Which is {i}?", "answer": "even", "rejected": "odd" if i % 4 else "Let me see. even"}
        for i in range(0, 80, 2)
    ]
    (folder / "labels.jsonl").write_text("\n".join(map(json.dumps, labels)))
    scenario = yaml.safe_load((folder / "toy.yaml").read_text())
    fields = {"style": "label", "labels": ["odd", "even"], "rejected": "rejected"}
    scenario["general"]["liked"]["sources"] = [{"source": "examples", "path": "labels.jsonl"} | fields]
    (folder / "toy.yaml").write_text(yaml.safe_dump(scenario))
    graph, store = plan(folder)
    with contextlib.chdir(folder):
        node = Ground(graph.experiment, graph.scenario).set("liked")
    execute(folder, node, store)
    assert len(rows(store.path(node), "liked", "train", 128)) > 20


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"chatt": 0.2}, "general set: 'chatt' is unknown; did you mean 'chat'"),
        ({"german": 0.2}, "general set: 'german' is unknown"),  # of the stream: it would be learned before its time
        ({"chat": 0.8, "liked": 0.4}, "at most 1 together"),
    ],
)
def test_what_cannot_be_mixed_in_is_told(shares: dict[str, float], message: str, tmp_path: Path) -> None:
    folder = mixed(tmp_path, {"knowledge_mixture": {"shares": shares}})
    with pytest.raises(UserError, match=message):
        plan(folder)


def test_share_0_is_the_plain_node(tmp_path: Path) -> None:
    write_mixture(tmp_path, strategies={"mixed": None, "plain": None})
    write_strategy(tmp_path, "plain", ["rewarm_cosine"])
    write_strategy(tmp_path, "mixed", ["rewarm_cosine", {"knowledge_mixture": {"shares": {"chat": 0.0}}}])
    graph, _ = plan(tmp_path)
    one, other = graph.runs
    assert [s.node.key for s in one.stages] == [s.node.key for s in other.stages]
    assert any("equivalent to training without it" in text for text in graph.warnings)


def test_preferences_are_wrong_in_content_or_form(tmp_path: Path) -> None:
    write_mixture(tmp_path)
    of = {"source": "examples", "path": "copy.jsonl"}
    for rejected in ("content", "form", "both"):
        found = list(Preferences(of, rejected, folder=str(tmp_path)).documents())
        wrapped = [one.answer in str(one.rejected) and one.answer != one.rejected for one in found]
        share = sum(wrapped) / len(wrapped)
        assert share == {"content": 0.0, "form": 1.0}.get(rejected, pytest.approx(0.5, abs=0.1))
        assert all(one.rejected != one.answer for one in found)
    assert found == list(Preferences(of, "both", folder=str(tmp_path)).documents())


def test_preferences_of_one_answer_are_wrapped(tmp_path: Path) -> None:
    lines = [json.dumps({"question": f"q{i}", "answer": "Yes"}) for i in range(4)]
    (tmp_path / "same.jsonl").write_text("\n".join(lines))
    of = {"source": "examples", "path": "same.jsonl"}
    found = list(Preferences(of, "content", folder=str(tmp_path)).documents())
    assert all("Yes" in str(one.rejected) for one in found)


def test_own_preferences_are_read_from_a_field(tmp_path: Path) -> None:
    lines = [json.dumps({"question": f"q{i}", "answer": "good", "rejected": "bad"}) for i in range(60)]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    write_mixture(tmp_path)
    source = {"source": "examples", "path": "own.jsonl", "rejected": "rejected"}
    scenario = load(str(tmp_path / "toy.yaml"), {"general": {"own": {"kind": "preference", "sources": [source]}}})
    documents = split(scenario.task("own"), scenario).train
    assert documents
    assert all(isinstance(one, Example) and one.rejected == "bad" for one in documents)


def test_kinds_that_do_not_fit_are_told(tmp_path: Path) -> None:
    write_mixture(tmp_path)
    path = str(tmp_path / "toy.yaml")
    with pytest.raises(UserError, match="put the set under general"):
        load(path, {"retain": {"x": PREFERENCES}})
    with pytest.raises(UserError, match="general: 'german' is also the name of another set"):
        load(path, {"general": {"german": {"sources": [{"source": "files", "path": "german.txt"}]}}})
    wrong = load(path, {"general": {"x": PREFERENCES}})
    with pytest.raises(UserError, match="which yields instruction; set kind: instruction"):
        split(wrong.task("x"), wrong)


def test_replay_is_of_tasks_not_of_what_was_mixed_in(tmp_path: Path) -> None:
    folder = mixed(
        tmp_path, {"replay": {"share": 0.5, "max_epochs": 9}}, {"knowledge_mixture": {"shares": {"chat": 0.5}}}
    )
    graph, _ = plan(folder)
    shares = graph.runs[0].stages[1].node.spec["shares"]
    assert shares == {"german": 0.25, "plain:chat": 0.5, "replay:english?max_epochs=9": 0.25}
