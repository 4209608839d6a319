"""Memories in a report: the table over rows, and the columns beside the scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cl.metrics.records import ExperimentResult, RunResult
from cl.reporting.html.figures import figures
from cl.reporting.html.groups import groups
from cl.reporting.html.memories import memory_rows
from cl.reporting.html.page import write
from cl.reporting.html.table import strategies
from tests.support.results import experiment, one_run

FIGURES = {"stored": 1500.0, "bytes": 64_000.0, "shown": 3.5, "dropped": 0.5, "read": 210.0, "alone": 40.0,
           "seconds": 0.0012}  # fmt: skip


def retrieving() -> RunResult:
    """A run that trained nothing; in its second row the other task's examples join the memory."""
    pairs = {0: (9.0, 9.0), 1: (6.0, 9.0), 2: (7.0, 6.0)}
    losses = {t: {"english": english, "german": german} for t, (english, german) in pairs.items()}
    rows = {t: {name: FIGURES | {"own_task": 1.0 / t} for name in ("english", "german")} for t in (1, 2)}
    return dataclasses.replace(one_run(losses), strategy="retrieval_bm25", memory=rows)


def both() -> ExperimentResult:
    made = experiment()
    return dataclasses.replace(made, runs=[*made.runs, retrieving()])


def test_a_line_per_row_of_r() -> None:
    assert memory_rows(groups(both())) == [
        ("retrieval_bm25", "english", "1.5 k", "64 k", "3.5", "0.5", "100%", "210", "40", "1.2"),
        ("retrieval_bm25", "german", "1.5 k", "64 k", "3.5", "0.5", "50%", "210", "40", "1.2"),
    ]
    assert memory_rows(groups(experiment())) == []


def test_columns_stand_beside_those_of_weight_methods() -> None:
    table = strategies(both())
    places = {column.title: place for place, column in enumerate(table.columns)}
    values = {row.group.label: row.values for row in table.rows}
    assert values["retrieval_bm25"][places["memory"]].text == "64 k"
    assert values["retrieval_bm25"][places["read"]].detail == ("3.5 shown", "1.2 ms")
    assert values["retrieval_bm25"][places["tokens"]].text == "0"
    assert values["finetune"][places["memory"]].note == "nothing is retrieved"
    assert "memory" not in {column.title for column in strategies(experiment()).columns}


def test_a_run_without_stages_is_drawn_alone_and_beside_others(tmp_path: Path) -> None:
    for result in (both(), dataclasses.replace(both(), runs=[retrieving()])):
        write(result, figures(result), tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text(encoding="utf-8")
        assert "Memories beside the weights" in page
        assert "matrix/retrieval_bm25" in figures(result)


def test_a_result_with_memories_reads_back(tmp_path: Path) -> None:
    both().save(tmp_path / "results.json")
    assert ExperimentResult.load(tmp_path / "results.json").runs[-1].memory == retrieving().memory
