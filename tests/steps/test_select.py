"""Select nodes: the least surprising examples are chosen, and what cannot be chosen is told."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cl.data import tokenization
from cl.data.batches import collate
from cl.data.rows import Row
from cl.errors import UserError
from cl.graph.roles import STATE, TOKENIZER
from cl.graph.roles import data as data_role
from cl.models import adapters, losses
from cl.models.forward import TokenLoss
from tests.support.mixture import aligned
from tests.support.training import execute, plan


def test_the_least_surprising_answers_are_chosen(tmp_path: Path) -> None:
    folder = aligned(tmp_path)
    graph, store = plan(folder)
    stage = graph.runs[0].stages[1].node
    for parent in stage.parents.values():
        execute(folder, parent, store)
    node = stage.parents[data_role("chat")]
    result = store.result(node)
    (whole,) = (store.path(parent) for role, parent in node.parents.items() if role == data_role("chat"))
    found = tokenization.examples(whole, "train")
    assert result["of"] == len(found) > 5
    assert tokenization.examples(store.path(node), "train") == [found[row] for row in result["chosen"]]
    loss = TokenLoss(adapters.load(store.path(node.parents[STATE]), None).eval(), 0, boundaries=True)
    loss.separator = store.result(node.parents[TOKENIZER])["separator_id"]
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


def test_more_examples_than_there_are_is_an_error_with_their_number(tmp_path: Path) -> None:
    folder = aligned(tmp_path, {"sft": {"of": "chat", "count": 5000}})
    graph, store = plan(folder)
    with pytest.raises(UserError, match=r"count: 5000 is more than the \d+ training examples of chat"):
        execute(folder, graph.runs[0].stages[1].node, store)


def test_all_examples_need_no_choice(tmp_path: Path) -> None:
    graph, _ = plan(aligned(tmp_path, {"sft": {"of": "chat", "count": None, "examples": 8}}))
    assert graph.runs[0].stages[1].node.parents[data_role("chat")] is not None
    assert not [node for node in graph.nodes if node.kind == "select"]


def test_a_ratio_to_plain_text_needs_a_chat_template(tmp_path: Path) -> None:
    folder = aligned(tmp_path, {"sft": {"of": "chat", "count": 5, "score": "fas_response"}})
    graph, store = plan(folder)
    with pytest.raises(UserError, match="compares with the chat template, which this tokenizer has not"):
        execute(folder, graph.runs[0].stages[1].node, store)
