"""What a stored node's computation returned."""

from __future__ import annotations

from pathlib import Path

from cl.graph import stored


def test_result_of_reads_what_a_node_returned(tmp_path: Path) -> None:
    (tmp_path / "node.json").write_text('{"key": "x", "result": {"answer": 42}}')
    assert stored.result_of(tmp_path) == {"answer": 42}
