"""Batches of text, dialogues and pairs, with segments, positions and masks by hand."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import torch
import yaml

from cl.data.batches import Batch, collate, documents, positions, segments
from cl.data.rows import IGNORE, DialogueRows, PairRows, Row, rows
from cl.execution import runner
from cl.graph.shared_nodes import SharedNodes
from tests.support.instruction import write_stream
from tests.support.mixture import mixed, write_mixture
from tests.support.training import Quiet, execute, plan

S = 0  # the separator's id in rows written by hand


@pytest.mark.parametrize(
    ("ids", "segment", "position"),
    [
        ([S, 5, 6, S, 7, 8], [1, 1, 1, 2, 2], [0, 1, 2, 0, 1]),  # two documents; the last id is a target only
        ([4, 5, S, 7, 8, S], [0, 0, 1, 1, 1], [0, 1, 0, 1, 2]),  # the row starts inside a document
        ([4, 5, 6, 7, 8, 9], [0, 0, 0, 0, 0], [0, 1, 2, 3, 4]),
        ([S, S, 5, S, S, 5], [1, 2, 2, 3, 4], [0, 0, 1, 0, 0]),  # an empty document is a segment of its own
    ],
)
def test_segments_and_positions_by_hand(ids: list[int], segment: list[int], position: list[int]) -> None:
    found = segments(Batch(torch.tensor([ids]), None), S)
    assert found.tolist() == [segment]
    assert positions(found).tolist() == [position]


def test_documents_are_read_in_groups_of_similar_length_that_hold_no_more_than_the_rows() -> None:
    ids = torch.tensor([[S, 5, 6, 7, S, 8], [9, S, 4, 4, S, S]])
    groups = list(documents(ids, (ids == S).cumsum(1)))
    assert [{place: text.tolist() for place, text in group.items()} for group in groups] == [
        {0: [S, 5, 6, 7], 3: [S, 4, 4], 1: [S, 8]},  # three of four tokens, padded, are the twelve of the rows
        {2: [9], 4: [S], 5: [S]},
    ]


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what planning alone shows."""
    return write_stream(tmp_path_factory.mktemp("planned"))


def test_rows_of_unequal_length_are_padded_and_padding_is_not_learned(stream: Path) -> None:
    planned, store = plan(stream)
    with contextlib.chdir(stream):
        runner.run(runner.pending([planned.data["copy"]], store), store, Quiet())
    found = rows(store.path(planned.data["copy"]), "copy", "train", 64)
    assert isinstance(found, DialogueRows)
    chosen = [found[0], found[1]]
    batch = collate(chosen, 0)
    assert batch.targets is not None
    for row, (ids, targets, _, _) in enumerate(chosen):
        assert targets is not None
        assert torch.equal(batch.ids[row, : len(ids)], ids)
        assert torch.equal(batch.targets[row, : len(targets)], targets)
        assert (batch.targets[row, len(targets) :] == IGNORE).all()
        learned = targets != IGNORE
        assert torch.equal(targets[learned], ids[1:][learned])
        assert found.question(row).tolist() == ids[: len(ids) - int(learned.sum())].tolist()
    assert int(batch.learned()) == sum(int((t != IGNORE).sum()) for _, t, _, _ in chosen if t is not None)


def test_a_separator_inside_a_dialogue_does_not_hide_the_question() -> None:
    """Some chat templates end each turn with the token that separates documents."""
    separator = 0
    text, dialogue = torch.tensor([5, 0, 6, 7, 8]), torch.tensor([5, 0, 6, 7, 8])
    targets = torch.tensor([IGNORE, IGNORE, 7, 8])
    batch = collate([Row(text, None), Row(dialogue, targets)], separator)
    assert segments(batch, separator).tolist() == [[0, 1, 1, 1], [0, 0, 0, 0]]


def test_a_pair_is_two_rows_of_one_question(tmp_path: Path) -> None:
    folder = mixed(tmp_path)
    graph, store = plan(folder)
    with contextlib.chdir(folder):
        node = SharedNodes(graph.experiment, graph.scenario).set("liked")
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
        node = SharedNodes(graph.experiment, graph.scenario).set("liked")
    execute(folder, node, store)
    assert len(rows(store.path(node), "liked", "train", 128)) > 20
