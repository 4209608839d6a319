"""What MLflow is told."""

from __future__ import annotations

import dataclasses

import pytest

from cl.metrics.records import Point
from cl.reporting.mlflow_values import final_metrics, numbered, point_metrics
from tests.support.results import experiment, one_run, probed


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (Point(0, 0, 0.0), {"seconds": 0.0}),
        (
            Point(2, 64, 1.5, loss=3.0, lr=0.1, grad_norm=2.0),
            {"seconds": 1.5, "loss": 3.0, "lr": 0.1, "grad_norm": 2.0},
        ),
        (
            Point(2, 64, 1.5, scores={"english": 3.5}, terms={"anchor": 0.5, "anchor/ratio": 0.1}),
            {"seconds": 1.5, "validation/english/loss": 3.5, "term/anchor": 0.5, "term/anchor/ratio": 0.1},
        ),
        (
            Point(2, 64, 1.5, seen={"german": 48, "replay:english?max_epochs=2": 16}),
            {"seconds": 1.5, "share/german": 0.75, "share/replay_english_max_epochs_2": 0.25},
        ),
        (Point(0, 0, 0.0, seen={"german": 0}), {"seconds": 0.0}),  # a share of nothing is none
    ],
)
def test_point_metrics(point: Point, expected: dict[str, float]) -> None:
    assert point_metrics(point) == expected


def test_a_method_that_is_listed_twice_keeps_both_its_settings() -> None:
    first, later = {"tasks": "first"}, {"tasks": "later"}
    listed = [{"rewarm": first}, {"replay": {"share": 0.1}}, {"rewarm": later}, {"rewarm": {}}]
    assert numbered(listed) == {
        "rewarm": {"tasks": "first"},
        "replay": {"share": 0.1},
        "rewarm.2": {"tasks": "later"},
        "rewarm.3": {},
    }


def test_final_metrics_stand_where_their_row_ends_in_the_stream() -> None:
    run = experiment().runs[0]
    found = {name: (value, tokens) for name, value, tokens in final_metrics(run, [])}
    ends = [0, *(stage.offset + stage.tokens for stage in run.stages)]
    assert [tokens for name, _, tokens in final_metrics(run, []) if name == "R/english/loss"] == ends
    assert found["R/german/loss"] == (run.matrix[len(ends) - 1]["german"].loss, ends[-1])
    formulas = {name: tokens for name, (_, tokens) in found.items() if not name.startswith("R/")}
    assert formulas
    assert set(formulas.values()) == {ends[-1]}


def test_figures_of_probes_stand_where_their_row_ends_in_the_stream() -> None:
    run = probed().runs[0]
    found = [each for each in final_metrics(run, []) if each[0] == "probe/linear/german/accuracy"]
    assert [value for _, value, _ in found] == [0.25, 0.5, 0.75]
    assert [tokens for *_, tokens in found] == [0, *(stage.offset + stage.tokens for stage in run.stages)]


def test_rows_of_a_run_that_trained_nothing_are_told_apart_by_their_tasks() -> None:
    rows = {t: {"english": 3.0 + t, "german": 3.0 - t} for t in (0, 1, 2)}
    memory = {t: {"german": {"bytes": 100.0 * t}} for t in (1, 2)}
    run = dataclasses.replace(one_run(rows), memory=memory)
    found = final_metrics(run, [])
    assert [each[1:] for each in found if each[0] == "R/english/loss"] == [(3.0, 0), (4.0, 1), (5.0, 2)]
    assert [each[1:] for each in found if each[0] == "memory/german/bytes"] == [(100.0, 1), (200.0, 2)]
    assert len({(name, step) for name, _, step in found}) == len(found)
