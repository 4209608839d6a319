"""The files of docs/your_model.md are planned with a small model and a few texts in the places of the large ones."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from cl.config import loading
from cl.graph import planner
from tests.support.training import dropout_model

PAGE = Path(__file__).parents[2] / "docs" / "your_model.md"
BLOCKS = dict(re.findall(r"^```yaml\n# (\S+)\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL))


def test_the_experiment_of_the_page_is_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow
    from pyarrow import parquet

    monkeypatch.chdir(tmp_path)
    assert list(BLOCKS) == ["experiments/domain.yaml", "scenarios/domain.yaml"]
    for name, content in BLOCKS.items():
        Path(name).parent.mkdir()
        Path(name).write_text(content.replace("/data/", f"{tmp_path}/data/").replace(".jsonl.zst", ".jsonl"))
    for folder in ("general", "ours"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    texts = [f"document {number} about nothing" for number in range(2_000)]
    lines = "".join(json.dumps({"text": text}) + "\n" for text in texts)
    (tmp_path / "data" / "general" / "a.jsonl").write_text(lines)
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "data" / "ours" / "a.parquet")
    dropout_model(tmp_path / "Llama-3.2-1B")
    small = ["--tokens.domain=2000000", "--train.sequence=64", "--train.device=cpu", "--train.precision=fp32"]
    graph = planner.build(loading.load("domain", small))
    assert [run.strategy.label for run in graph.runs] == ["rewarm", "rewarm_replay", "lora_sequential"]
    assert all(run.known == 1 for run in graph.runs)
    planner.build(loading.load("domain", [*small, "--strategies={lora_sequential: }", "--model.weights=4bit"]))
    planner.build(loading.load("domain", [*small, "--train.devices=8", "--train.distributed=fsdp"]))
