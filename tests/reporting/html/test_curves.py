"""Curves over the whole stream: what is drawn, what is labelled."""

from __future__ import annotations

import dataclasses

import pytest

from cl.metrics.records import ExperimentResult
from cl.reporting.html.curves import apart
from cl.reporting.html.figures import figures
from cl.reporting.html.table import Value, strategies
from tests.support.results import experiment, with_runs


def cell(result: ExperimentResult, label: str, title: str) -> Value:
    table = strategies(result)
    row = next(row for row in table.rows if row.group.label == label)
    return row.values[[column.title for column in table.columns].index(title)]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [([], []), ([0, 100], [0, 100]), ([50, 50], [40, 60]), ([60, 50], [65, 45]), ([0, 0, 30], [-10, 10, 30])],
)
def test_labels_move_apart_no_more_than_they_must(wanted: list[float], expected: list[float]) -> None:
    assert apart(wanted, 20) == pytest.approx(expected)


def test_a_shared_stage_is_drawn_once() -> None:
    figure = figures(experiment())["curve/english"]
    names = [trace.name for trace in figure.data]
    assert names == ["shared, trained once", "finetune", "rewarm", "rewarm_replay_25", "joint"]


def test_a_pretrained_first_task_and_a_fork_are_drawn() -> None:
    run = experiment().runs[1]
    trunk = dataclasses.replace(run.stages[1], name="german trunk", row=None, offset=0, key="trunk")
    fork = dataclasses.replace(run.stages[1], name="german anneal", offset=1_000_000, tokens=1_000_000, key="fork")
    rows = {t: row for t, row in run.matrix.items() if t > 0}
    pretrained = dataclasses.replace(run, known=1, stages=[trunk, fork], matrix=rows)
    result = with_runs(pretrained)
    assert cell(result, "rewarm", "forgetting").text == "3.07"
    assert cell(result, "rewarm", "adaptation").text == "4.11"  # 8.92 - 4.81: only the task that was learned
    made = figures(result)
    dots = [trace for trace in made["forgetting"].data if trace.mode == "markers"]
    assert [(list(trace.x), list(trace.y)) for trace in dots] == [([2_000_000], [pytest.approx(7.46)])]
    assert [trace.name for trace in made["curve/german"].data] == ["rewarm", "rewarm"]


def test_a_stage_that_starts_at_different_tokens_is_named_once() -> None:
    result = experiment()
    late = [dataclasses.replace(stage, offset=stage.offset + stage.offset // 2) for stage in result.runs[1].stages]
    moved = dataclasses.replace(result, runs=[result.runs[0], dataclasses.replace(result.runs[1], stages=late)])
    names = [note.text for note in figures(moved)["forgetting"].layout.annotations if note.text.endswith("▸")]
    assert names == ["english ▸", "german ▸"]
