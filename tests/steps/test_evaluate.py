"""A row of R: the same again, and in any batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from cl.graph.roles import STATE, TOKENIZER, Inputs, data
from cl.graph.specs import Compute, EvaluateSpec, Packing
from cl.models import pretrained
from cl.steps.evaluate import run
from tests.support.data_node import SEQUENCE, data_folder
from tests.support.steps import context, stored
from tests.support.training import SEPARATOR, tiny


def evaluated(folder: Path, batch: int, tokens: int) -> dict[str, Any]:
    sets = ("english", "german")
    spec = EvaluateSpec(sets, tokens, batch, 0, Packing(SEQUENCE, True), Compute("cpu", "fp32"))
    own = {STATE: folder / "state", TOKENIZER: folder / "tokenizer"}
    return run(spec, Inputs(own | {data(name): folder / name for name in sets}), context(folder))


def test_a_row_of_r(tmp_path: Path) -> None:
    pretrained.save(tiny(), tmp_path / "state")
    stored(tmp_path / "tokenizer", {"separator_id": SEPARATOR})
    data_folder(tmp_path / "english"), data_folder(tmp_path / "german", rows=3, seed=1)
    cells = evaluated(tmp_path, batch=4, tokens=5 * SEQUENCE)["cells"]
    assert list(cells) == ["english", "german"]
    assert [cell["tokens"] for cell in cells.values()] == [5 * SEQUENCE, 3 * SEQUENCE]
    assert [cell["bytes"] for cell in cells.values()] == pytest.approx([10 * SEQUENCE, 6 * SEQUENCE])
    again = evaluated(tmp_path, batch=4, tokens=5 * SEQUENCE)["cells"]
    assert again == cells  # bit for bit
    other = evaluated(tmp_path, batch=1, tokens=5 * SEQUENCE)["cells"]
    assert [cell["nll"] for cell in other.values()] == pytest.approx([cell["nll"] for cell in cells.values()], rel=1e-6)


def test_behind_stored_examples_as_many_rows_are_measured_as_without(tmp_path: Path) -> None:
    pretrained.save(tiny(), tmp_path / "state")
    stored(tmp_path / "tokenizer", {"separator_id": SEPARATOR})
    for name, rows in (("english", 7), ("german", 4)):
        data_folder(tmp_path / name, rows=10)
        record = json.loads((tmp_path / name / "node.json").read_text(encoding="utf-8"))
        stored(tmp_path / name, record["result"] | {"window": {"rows": rows, "longest": SEQUENCE}})
    cells = evaluated(tmp_path, batch=4, tokens=5 * SEQUENCE)["cells"]
    assert [cell["tokens"] for cell in cells.values()] == [7 * SEQUENCE, 4 * SEQUENCE]
    stored(tmp_path / "german", record["result"] | {"window": {"rows": 1, "longest": 513}})
    with pytest.raises(UserError, match="context: 513 is more than the 512 tokens that the model reads; lower it"):
        evaluated(tmp_path, batch=4, tokens=5 * SEQUENCE)
