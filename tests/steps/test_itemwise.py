"""Values by item: losses that add up to a row of R, and scores that are those of the answers."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from cl.execution import runner
from cl.graph.measurement_specs import EvaluateSpec, ItemwiseSpec
from cl.graph.roles import STATE, TOKENIZER, Inputs, data
from cl.graph.specs import Compute, Packing
from cl.models import pretrained
from cl.steps import evaluate, itemwise
from tests.support.data_node import SEQUENCE, data_folder
from tests.support.instruction import write_stream
from tests.support.steps import context, stored
from tests.support.training import SEPARATOR, Silent, plan, tiny

SETS, TOKENS, PACKING, CPU = ("english", "german"), 5 * SEQUENCE, Packing(SEQUENCE, True), Compute("cpu", "fp32")


def measured(folder: Path, step: Any, spec: Any) -> dict[str, Any]:
    own = {STATE: folder / "state", TOKENIZER: folder / "tokenizer"}
    found: dict[str, Any] = step.run(spec, Inputs(own | {data(name): folder / name for name in SETS}), context(folder))
    return found


def test_losses_by_row_are_those_of_a_row_of_r(tmp_path: Path) -> None:
    pretrained.save(tiny(), tmp_path / "state")
    stored(tmp_path / "tokenizer", {"separator_id": SEPARATOR})
    data_folder(tmp_path / "english"), data_folder(tmp_path / "german", rows=3, seed=1)
    items = measured(tmp_path, itemwise, ItemwiseSpec(SETS, "loss", TOKENS, 0, 4, PACKING, CPU, split="test"))["items"]
    cells = measured(tmp_path, evaluate, EvaluateSpec(SETS, TOKENS, 4, 0, PACKING, CPU))["cells"]
    assert {name: len(values) for name, values in items.items()} == {"english": 5, "german": 3}
    sums = [SEQUENCE * sum(values) for values in items.values()]
    assert sums == pytest.approx([cell["nll"] for cell in cells.values()], rel=1e-6)
    again = measured(tmp_path, itemwise, ItemwiseSpec(SETS, "loss", TOKENS, 0, 4, PACKING, CPU, split="test"))["items"]
    assert again == items  # bit for bit


@pytest.mark.slow
def test_scores_by_question_are_those_of_the_answers(tmp_path: Path) -> None:
    """A gate on a score: the same questions as in the validation of a row of R, and the same scores."""
    own = {"lora_gated": {"promotion": {"metric": "format_ok"}}}
    folder = write_stream(tmp_path, examples=32, evaluation={"items": 20, "split": "validation"}, strategies=own)
    graph, store = plan(folder)
    (run,) = graph.runs
    gate = run.stages[0].gate
    assert gate is not None
    (items,) = (node for role, node in gate.parents.items() if str(role) == "incumbent/items")
    with contextlib.chdir(folder):
        runner.run(runner.pending([run.rows[0], items], store), store, Silent())
    lines = (store.path(run.rows[0]) / "items" / "copy.jsonl").read_text(encoding="utf-8").splitlines()
    assert store.result(items)["items"] == {"copy": [json.loads(line)["format_ok"] for line in lines]}
