"""Results as plain data: losses of a cell by hand, and a file that reads back the same."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from cl.metrics.records import Cell, ExperimentResult
from tests.support.results import answered, experiment


@pytest.mark.parametrize(
    ("cell", "loss", "bits_per_byte", "perplexity"),
    [
        (Cell(nll=2 * math.log(2), tokens=2, bytes=4), math.log(2), 0.5, 2.0),
        (Cell(nll=0.0, tokens=3, bytes=3), 0.0, 0.0, 1.0),
        (Cell(nll=800.0, tokens=1, bytes=1), 800.0, 800 / math.log(2), math.inf),  # exp(800) overflows
    ],
)
def test_losses_of_a_cell_by_hand(cell: Cell, loss: float, bits_per_byte: float, perplexity: float) -> None:
    assert (cell.loss, cell.bits_per_byte, cell.perplexity) == pytest.approx((loss, bits_per_byte, perplexity))


def test_a_result_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = experiment((0, 1))
    written.save(tmp_path / "results.json")
    assert ExperimentResult.load(tmp_path / "results.json") == written


def test_answers_read_back_by_row_and_are_absent_in_earlier_files(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    answered().save(file)
    assert ExperimentResult.load(file) == answered()
    raw = json.loads(file.read_text(encoding="utf-8"))
    for run in raw["runs"]:
        del run["answers"], run["options"]
    file.write_text(json.dumps(raw), encoding="utf-8")
    assert ExperimentResult.load(file) == experiment()
