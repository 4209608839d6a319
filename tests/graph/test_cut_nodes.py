"""Cut nodes in the graph: what they leave alone, and what is refused beside them."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.errors import UserError
from tests.support.decomposed import decomposed
from tests.support.instruction import write_stream
from tests.support.training import plan, write_strategy, write_toy


def test_evaluation_shares_its_text_and_no_other_key_moves(tmp_path: Path) -> None:
    graph, _ = plan(decomposed(tmp_path))
    plain, _ = plan(write_toy(tmp_path / "plain", tokens=4 * 32 * 12))
    assert graph.runs[0].rows[0].key == plain.runs[0].rows[0].key
    assert {node.kind for node in graph.nodes} - {node.kind for node in plain.nodes} == {"cut"}


def test_shapes_and_methods_that_do_not_fit_are_refused_while_planning(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"strategies\.cut: decomposition: train\.sequence: 48 must be a power of two"):
        plan(decomposed(tmp_path), "--train.sequence=48")
    with pytest.raises(UserError, match="decomposition and decomposition both cut rows; keep one"):
        plan(decomposed(tmp_path, "decomposition"))
    with pytest.raises(UserError, match="insertion edits rows that decomposition cuts"):
        plan(decomposed(tmp_path, "insertion"))


def test_a_stream_without_text_has_nothing_to_cut(tmp_path: Path) -> None:
    write_stream(tmp_path, strategies={"cut": None})
    write_strategy(tmp_path, "cut", ["decomposition"])
    with pytest.raises(UserError, match="decomposition has no effect: no task is of kind text"):
        plan(tmp_path)
