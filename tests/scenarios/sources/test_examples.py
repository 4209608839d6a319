"""Questions and answers from files of one's own."""

from __future__ import annotations

import json
from pathlib import Path

from cl.tasks.example import Example
from cl.tasks.scenario import load, split
from tests.support.mixture import write_mixture


def test_own_preferences_are_read_from_a_field(tmp_path: Path) -> None:
    lines = [json.dumps({"question": f"q{i}", "answer": "good", "rejected": "bad"}) for i in range(60)]
    (tmp_path / "own.jsonl").write_text("\n".join(lines))
    write_mixture(tmp_path)
    source = {"source": "examples", "path": "own.jsonl", "rejected": "rejected"}
    scenario = load(str(tmp_path / "toy.yaml"), {"general": {"own": {"kind": "preference", "sources": [source]}}})
    documents = split(scenario.task("own"), scenario).train
    assert documents
    assert all(isinstance(one, Example) and one.rejected == "bad" for one in documents)
