"""A row of R: the same again, and in any batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
