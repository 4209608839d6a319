"""The teacher node: what is kept is what the model says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cl.data.rows import rows
from cl.errors import UserError
from cl.graph.roles import STATE, TOKENIZER, Inputs, data
from cl.graph.stored import result_of
from cl.methods.method import Teaching
from cl.models import pretrained
from cl.models.distillation import Dense, Sampled
from cl.models.forward import TokenLoss
from cl.training import stage_rows
from cl.training.teachers import Setting, opening
from tests.support.nodes import trained
from tests.support.teaching import with_mode
from tests.support.training import execute, plan


def test_what_is_kept_is_what_the_model_says(tmp_path: Path) -> None:
    folder = with_mode(tmp_path, "cache_hidden", "cache_sampled", count=7)
    graph, store = plan(folder)
    first = {run.strategy.label: run.stages[0] for run in graph.runs}
    for label, sort in (("cache_hidden", Dense), ("cache_sampled", Sampled)):
        node = first[label].node
        for parent in node.parents.values():
            execute(folder, parent, store)
        inputs = Inputs({role: store.path(parent) for role, parent in node.parents.items()})
        sources = {"english": rows(inputs[data("english")], "english", "train", 32)}
        spec = trained(node)
        staged = stage_rows.stage_plan(spec, stage_rows.starting_ledger(spec, inputs, sources), sources)
        model = pretrained.load(inputs[STATE]).eval()
        loss = TokenLoss(model, 0, boundaries=True)
        loss.separator = result_of(inputs[TOKENIZER])["separator_id"]
        batch = stage_rows.Batches(staged, sources, loss.separator)[3]
        mode: Any = label
        says = opening(Teaching("base", mode, 7), 1, inputs, loss, Setting(1, "cpu", "fp32", staged.readings))
        found = says(batch).says(slice(None), 1.0)
        assert isinstance(found, sort)
        with torch.no_grad():
            log_p = loss.outputs(batch).logits().log_softmax(-1)
        gold = batch.ids[:, 1:].reshape(-1)
        for mine, theirs in zip(found.choices(gold), Dense(log_p).choices(gold), strict=True):
            torch.testing.assert_close(mine, theirs, rtol=0, atol=0.01 if sort is Dense else 1e-4)
        if isinstance(found, Sampled):
            assert found.ids.shape == (len(gold), 7)
            torch.testing.assert_close(found.entropy, -(log_p.exp() * log_p).sum(-1), rtol=0, atol=1e-4)


def test_a_set_without_a_whole_row_has_nothing_to_be_taught(tmp_path: Path) -> None:
    folder = with_mode(tmp_path, "cache_hidden")
    graph, store = plan(folder, "--train.sequence=20000", "--tokens=80000")
    (node,) = (n for n in graph.runs[0].stages[0].node.parents.values() if n.kind == "teacher")
    with pytest.raises(UserError, match="'english': has no training rows"):
        execute(folder, node, store)
