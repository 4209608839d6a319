"""Choosing and aligning, end to end: who chooses what, what the curve shows, and what is refused."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cl.data import tokenization
from cl.data.batches import Row, collate
from cl.errors import UserError
from cl.models import adapters, losses
from cl.models.forward import TokenLoss
from tests.mixture_fixture import write_mixture
from tests.training_fixture import execute, plan, run, write_strategy

SFT = {"sft": {"of": "chat", "count": 5, "examples": 8, "rate": 0.5}}
DPO = {"dpo": {"of": "liked", "count": 4, "examples": 8}}


def aligned(folder: Path, *methods: Any) -> Path:
    write_mixture(folder, strategies={"aligned": None})
    write_strategy(folder, "aligned", ["rewarm_cosine", *(methods or (SFT, DPO))])
    return folder


def test_the_stages_of_a_run_and_what_they_stand_on(tmp_path: Path) -> None:
    graph, _ = plan(aligned(tmp_path))
    (chain,) = graph.runs
    nodes = {stage.stage.name: stage.node for stage in chain.stages}
    assert list(nodes) == ["english", "english sft", "english sft dpo", "german", "german sft", "german sft dpo"]
    assert nodes["german"].parents["state"] is nodes["english"]
    chosen, pairs = nodes["english sft"].parents["data/chat"], nodes["english sft dpo"].parents["data/liked"]
    assert {chosen.kind, pairs.kind} == {"select"}
    assert chosen.parents["state"] is pairs.parents["state"] is nodes["english"]  # what was learned, not yet aligned
    assert chain.rows[1].parents["state"] is nodes["english sft dpo"]
    assert [set(entry) for entry in nodes["english sft"].spec["methods"]] == [{"sft"}]
    plain, _ = plan(aligned(tmp_path, SFT), "--strategies={aligned: {sft: {rate: 0.1}}}")
    again = {stage.stage.name: stage.node for stage in plain.runs[0].stages}
    assert again["english"].key == nodes["english"].key
    assert again["english sft"].parents["data/chat"].key == chosen.key  # a rate changes no choice
    assert again["english sft"].key != nodes["english sft"].key


def test_the_least_surprising_answers_are_chosen(tmp_path: Path) -> None:
    folder = aligned(tmp_path)
    graph, store = plan(folder)
    stage = graph.runs[0].stages[1].node
    for parent in stage.parents.values():
        execute(folder, parent, store)
    node = stage.parents["data/chat"]
    result = store.result(node)
    (whole,) = (store.path(parent) for role, parent in node.parents.items() if role == "data/chat")
    found = tokenization.examples(whole, "train")
    assert result["of"] == len(found) > 5
    assert tokenization.examples(store.path(node), "train") == [found[row] for row in result["chosen"]]
    loss = TokenLoss(adapters.load(store.path(node.parents["state"]), None).eval(), 0, boundaries=True)
    loss.separator = store.result(node.parents["tokenizer"])["separator_id"]
    arrays = load_file(whole / "tokens.safetensors")
    starts, answers = arrays["train.starts"].tolist(), arrays["train.answers"].tolist()
    nll = []
    for row, (start, stop) in enumerate(pairwise(starts)):
        ids = arrays["train"][start:stop].long()
        targets = ids[1:].clone()
        targets[: answers[row] - 1] = -100
        batch = collate([Row(ids, targets)], loss.separator)
        with torch.no_grad():
            nll.append(float(losses.total_nll(loss.outputs(batch))) / int(batch.learned()))
    assert result["chosen"] == sorted(sorted(range(len(nll)), key=nll.__getitem__)[:5])


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [[], ["lora"]])
def test_a_run_with_alignment_and_its_curve(adapter: list[str], tmp_path: Path) -> None:
    found = run(aligned(tmp_path, *adapter, SFT, DPO))
    (result,) = found["runs"]
    stages = {stage["name"]: stage for stage in result["stages"]}
    assert stages["english sft"]["points"][-1]["seen"].keys() == {"chat"}
    dpo = stages["english sft dpo"]["points"]
    assert dpo[-1]["loss"] is None
    assert {"dpo", "dpo/margin", "dpo/preferred"} <= dpo[-1]["terms"].keys()
    assert dpo[1]["terms"]["dpo"] == pytest.approx(0.6931, abs=1e-3)  # the first step is at the reference
    assert set(result["matrix"]) == {"0", "1", "2"}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"sft": {"of": "liked"}}, "sft.of: liked is a set of kind preference; name one of kind instruction"),
        ({"dpo": {"of": "chat"}}, "dpo.of: chat is a set of kind instruction; name one of kind preference"),
        ({"sft": {"of": "chat", "score": "nll"}}, "score"),
        ({"sft": {"of": "chatt"}}, "sft.of: general set of toy: 'chatt' is unknown; did you mean 'chat'"),
        ({"sft": {"of": "german"}}, "sft.of: general set of toy: 'german' is unknown"),
    ],
)
def test_sets_that_cannot_align_are_refused_while_planning(method: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        plan(aligned(tmp_path, method))


def test_more_examples_than_there_are_is_an_error_with_their_number(tmp_path: Path) -> None:
    folder = aligned(tmp_path, {"sft": {"of": "chat", "count": 5000}})
    graph, store = plan(folder)
    with pytest.raises(UserError, match=r"count: 5000 is more than the \d+ training examples of chat"):
        execute(folder, graph.runs[0].stages[1].node, store)


def test_all_examples_need_no_choice(tmp_path: Path) -> None:
    graph, _ = plan(aligned(tmp_path, {"sft": {"of": "chat", "count": None, "examples": 8}}))
    assert graph.runs[0].stages[1].node.parents["data/chat"] is not None
    assert not [node for node in graph.nodes if node.kind == "select"]


@pytest.mark.parametrize("stream", ["wsd", "scratch", "joint"])
def test_what_changes_the_stream_stands_before_what_aligns_it(stream: str, tmp_path: Path) -> None:
    write_mixture(tmp_path, strategies={"late": None})
    write_strategy(tmp_path, "late", [SFT, stream])
    with pytest.raises(UserError, match=rf"strategies.late: {stream} changes the stream; list it before"):
        plan(tmp_path)
    write_strategy(tmp_path, "late", [stream, SFT])
    graph, _ = plan(tmp_path)
    assert graph.runs[0].stages[-1].stage.phase == "sft"


def test_adapters_that_are_kept_for_their_task_are_not_aligned(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="sft: adapters of life alone"):
        plan(aligned(tmp_path, {"lora": {"life": "alone"}}, SFT))


def test_a_ratio_to_plain_text_needs_a_chat_template(tmp_path: Path) -> None:
    folder = aligned(tmp_path, {"sft": {"of": "chat", "count": 5, "score": "fas_response"}})
    graph, store = plan(folder)
    with pytest.raises(UserError, match="compares with the chat template, which this tokenizer has not"):
        execute(folder, graph.runs[0].stages[1].node, store)
