"""Traps: contexts and buckets by hand, pairs behind one context, chance before training, a rise after it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cl.data.insertion import Design
from cl.errors import UserError
from cl.graph.roles import manifest
from cl.metrics.roc import null_half
from cl.models.forward import TokenLoss
from cl.probes.probe import State
from cl.probes.traps import Traps, behind, by_bucket, last_contexts, pairs
from tests.support.inserted import INSERTION, write_inserted
from tests.support.training import VOCABULARY, execute, plan, tiny

SETTINGS = {key: value for key, value in INSERTION.items() if key != "share"}


def test_the_context_is_that_of_the_last_copy() -> None:
    notes: list[dict[str, Any]] = [
        {"item": 3, "step": 9, "slot": 0, "before": [1, 2, 3, 4]},
        {"item": 3, "step": 2, "slot": 5, "before": [7, 8]},
        {"item": 5, "step": 0, "slot": 1, "before": [6]},
        {"item": 6, "step": 0, "slot": 2},  # a document of its own
    ]
    assert last_contexts(notes, 3) == {3: [2, 3, 4], 5: [6]}


def test_no_member_is_without_its_non_member() -> None:
    design = Design("canaries", (1, 4), phases=2, stages=(1, 3), items=2, tokens=4)
    cells = design.assigned(0)
    found = pairs(design, cells, 4, 3)
    assert [member for member, _ in found] == [*cells[4, 3], *cells[4, 4]]
    assert [other for _, other in found] == [*cells[0, 3], *cells[0, 4]]


def test_buckets_by_hand() -> None:
    """Of eight items, the four of lower perplexity are told apart by nothing, the others by all of the rise."""
    base = -torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0])
    now = base.clone()
    now[[4, 6]] += 0.5
    found = by_bucket("copies 4 stage 1", now, base, members=[0, 2, 4, 6], never=[1, 3, 5, 7], buckets=2)
    low, high = found["copies 4 stage 1 bucket 1"], found["copies 4 stage 1 bucket 2"]
    assert (low["ratio"], high["ratio"]) == (0.5, 1.0)
    assert (low["loss"], high["loss"]) == (0.75, 0.75)
    assert low["perplexity"] == pytest.approx(torch.tensor(2.5).exp().item())
    assert low["null"] == null_half(2, 2)
    assert found["copies 4 stage 1"] == {"trend": pytest.approx(0.5)}


def test_a_bucket_without_members_is_left_out() -> None:
    base = -torch.arange(4.0)
    found = by_bucket("copies 1 stage 1", base, base, members=[0], never=[1, 2, 3], buckets=2)
    assert [*found] == ["copies 1 stage 1 bucket 1"]


def test_only_the_tokens_of_the_item_are_scored_behind_the_context() -> None:
    model = tiny().eval()
    texts = [([5, 6, 7], [8, 9]), ([3], [8, 9])]
    found = behind(State(TokenLoss(model, 0, True), Path("unused"), "cpu", 2), texts)
    for value, (context, text) in zip(found, texts, strict=True):
        with torch.no_grad():
            log_p = model(input_ids=torch.tensor([[*context, *text]])).logits.log_softmax(-1)[0]
        expected = sum(log_p[len(context) - 1 + place, token] for place, token in enumerate(text)) / len(text)
        assert value == pytest.approx(float(expected), abs=1e-5)
    assert max(map(max, (context + text for context, text in texts))) < VOCABULARY


def test_a_run_is_at_chance_before_training_and_above_it_after(tmp_path: Path) -> None:
    settings = SETTINGS | {"items": 4, "levels": [6], "phases": 1}
    insertion = {"insertion": {**settings, "share": 0.5, "inside": True}}
    strategies = {"perturbed": None, "plain": None}
    folder = write_inserted(tmp_path, insertion, strategies=strategies, probes={"traps": settings})
    graph, store = plan(folder)
    perturbed, plain = graph.runs
    for stage in perturbed.stages[:1]:
        execute(folder, stage.node, store)
    notes = json.loads((store.path(perturbed.stages[0].node) / "replaced.json").read_text())
    assert all(note["before"] and note["length"] == settings["tokens"] for note in notes)
    found = {}
    for t in (0, 1):
        node = perturbed.probes["traps"][t]
        assert node.parents[manifest(1)].key == perturbed.stages[0].node.key
        execute(folder, node, store)
        found[t] = store.result(node)["measures"]
    name = "copies 6 stage 1"
    assert found[0][name]["in_context_ratio"] == 0.5
    assert abs(found[0][name]["in_context"] - 0.5) <= found[0][name]["null"] == null_half(4, 4)
    assert found[1][name]["in_context_ratio"] > 0.5
    assert 0 < found[1][name]["before"] <= 31
    node = plain.probes["traps"][0]
    assert manifest(1) not in node.parents  # nothing is inserted: no context, and so no test behind one
    execute(folder, node, store)
    assert "in_context" not in store.result(node)["measures"].get(name, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": -1}, "context: -1 must be at least 0"),
        ({"buckets": 1}, "buckets: 1 must be at least 2, and at most items: 2"),
        ({"buckets": 3}, "buckets: 3 must be at least 2, and at most items: 2"),
        ({"items": 4}, r"items: 4 differs from insertion\.items: 2"),
        ({}, r"context: 64 tokens before a copy are never read.*set insertion\.inside: true, or context: 0"),
    ],
)
def test_what_cannot_be_measured_is_told(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        plan(write_inserted(tmp_path, probes={"traps": SETTINGS | change}))


def test_buckets_need_no_context() -> None:
    assert Traps(context=0).manifests() == ()
    assert Traps(stages=[2]).references() == (1,)
