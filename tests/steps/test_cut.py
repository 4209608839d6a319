"""Cut nodes: what is dropped is counted and told, and too little text is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.errors import UserError
from cl.graph.roles import data
from tests.support.decomposed import decomposed
from tests.support.training import execute, plan, write_strategy


def test_too_little_text_and_much_dropped_text_are_told(tmp_path: Path) -> None:
    graph, store = plan(decomposed(tmp_path), "--strategy.decomposition.shortest=16")
    listener = execute(tmp_path, graph.runs[0].stages[0].node, store)
    result = store.result(graph.runs[0].stages[0].node)
    cut = store.result(graph.runs[0].stages[0].node.parents[data("english")])["cut"]
    assert listener.points
    assert cut["dropped"] > 0.1
    assert any("decomposition drops" in text for text in result["warnings"])
    write_strategy(tmp_path, "cut", [{"rewarm_cosine": {}}, {"decomposition": {"shortest": 32}}])
    graph, store = plan(tmp_path, "--train.sequence=512", "--tokens=8192")
    with pytest.raises(UserError, match="too few long documents for one step of 4 x 512 tokens"):
        execute(tmp_path, graph.runs[0].stages[0].node, store)
