"""Decomposition in a run: rows of one length a step, equal compute, exact resumption of order, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from cl.data.batches import Batch, collate
from cl.data.rows import rows
from cl.errors import UserError
from cl.graph.planner import Graph
from cl.graph.roles import TOKENIZER, data
from cl.graph.stored import result_of
from cl.models.forward import TokenLoss
from cl.training.learner import Learner
from strategies.lengths.decomposition import Decomposition
from tests.support.decomposed import decomposed
from tests.support.training import execute, plan, tiny


def origins(batch: Batch) -> list[int]:
    """Number of the reading of each row."""
    assert batch.origin is not None
    return [int(origin) for origin in batch.origin[:, 0]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Graph, Any, list[Batch]]:
    """Graph and store of a run with replay, and the batches that it trained on."""
    folder = decomposed(tmp_path_factory.mktemp("cut"), {"replay": {"share": 0.25}})
    graph, store = plan(folder)
    seen: list[Batch] = []
    inner = Learner.training_step

    def training_step(self: Learner, batch: Batch, index: int) -> None:
        seen.append(batch)
        inner(self, batch, index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "training_step", training_step)
        for stage in graph.runs[0].stages:
            execute(folder, stage.node, store)
    return graph, store, seen


def test_every_piece_is_in_the_text_and_no_step_has_more_tokens(run: tuple[Graph, Any, list[Batch]]) -> None:
    graph, store, seen = run
    node = graph.runs[0].stages[0].node.parents[data("english")]
    assert node.kind == "cut"
    found = rows(store.path(node), "english", "train", 32)
    text = load_file(store.path(node) / "tokens.safetensors")["train"]
    separator = result_of(store.path(node.parents[TOKENIZER]))["separator_id"]
    plain = load_file(store.path(graph.data["english"]) / "tokens.safetensors")["train"]
    assert np.array_equal(text, plain)
    for row in (found[place] for place in range(len(found))):
        assert row.targets is not None
        assert row.segments is not None
        assert len(row.targets) == 32
        for piece in row.segments.unique():
            at = row.segments == piece
            ids = np.array([*row.ids[:-1][at].tolist(), int(row.targets[at][-1])], dtype=text.dtype)
            windows = np.lib.stride_tricks.sliding_window_view(text, len(ids))
            assert (windows == ids).all(1).any()
            assert separator not in ids[1:-1].tolist()
    assert {tuple(batch.ids.shape) for batch in seen} == {(4, 33)}
    assert all(int(batch.learned()) == 4 * 32 for batch in seen)
    for step in range(12):  # the first stage replays nothing: one length a step
        parts = seen[step].parts
        assert parts is not None
        assert len({int(part.max()) for part in parts}) == 1


def test_rows_are_read_in_their_order_and_replayed_as_trained(run: tuple[Graph, Any, list[Batch]]) -> None:
    graph, store, seen = run
    first, second = (stage.node for stage in graph.runs[0].stages)
    found = rows(store.path(first.parents[data("english")]), "english", "train", 32)
    assert [found[row].ids.tolist() for row in range(48)] == [row for batch in seen[:12] for row in batch.ids.tolist()]
    replayed = [
        row.tolist() for batch in seen[12:] for row, of in zip(batch.ids, origins(batch), strict=True) if of == 1
    ]
    assert replayed == [found[row].ids.tolist() for row in range(12)]
    assert json.loads(store.result(second)["ledger"])["english"]["seed"] is None


def test_pieces_do_not_see_one_another(run: tuple[Graph, Any, list[Batch]]) -> None:
    graph, store, _ = run
    found = rows(store.path(graph.runs[0].stages[0].node.parents[data("english")]), "english", "train", 32)
    row = next(
        row for row in map(found.__getitem__, range(len(found))) if row.segments is not None and row.segments[-1]
    )
    assert row.targets is not None
    assert row.segments is not None
    for name in ("llama-tiny", "neox-tiny"):
        loss = TokenLoss(tiny(name, vocabulary=300).eval(), 0, boundaries=True)
        whole = loss.outputs(collate([row], 0)).values
        for piece in row.segments.unique():
            at = row.segments == piece
            ids = torch.cat([row.ids[:-1][at], row.targets[at][-1:]])
            alone = loss.model.get_decoder()(ids[None, :-1]).last_hidden_state[0]
            assert torch.allclose(whole[at], alone, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"shortest": 24}, "shortest: 24 is no power of two"),
        ({"cycles": 0}, "cycles: 0 must be at least 1"),
        ({"odds": 0.0}, "odds: 0.0 must be positive"),
        ({"above": "half"}, "above: 'half' is neither random nor longest"),
    ],
)
def test_settings_that_are_wrong(settings: dict[str, Any], error: str) -> None:
    with pytest.raises(UserError, match=error):
        Decomposition(**settings)
