"""Pictures of probes: what is drawn of a measure, and what is absent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cl.metrics.records import Measure
from cl.reporting.html.figures import figures
from cl.reporting.html.groups import groups
from cl.reporting.html.probes import probe_figure, probe_figures
from cl.reporting.html.table import strategies
from tests.support.results import experiment, probed


def test_a_measure_is_a_line_per_strategy_of_means_over_sets_and_seeds() -> None:
    result = probed((0, 2))
    every = groups(result)
    figure = probe_figure(every, "linear", result.probes["linear"][0])
    assert [(line.name, line.line.color) for line in figure.data] == [(group.label, group.colour) for group in every]
    lines = {line.name: line for line in figure.data}
    assert list(lines["finetune"].x) == ["before training", "after english", "after german"]
    assert list(lines["finetune"].y) == pytest.approx([0.25 + 0.06, 0.5 + 0.06, 0.75 + 0.06])
    assert list(lines["joint"].x) == ["after german"]  # which has one row only
    (chance,) = figure.layout.shapes
    assert (chance.y0, chance.y1) == (0.2, 0.2)
    assert "share, higher is better" in figure.layout.title.text
    described = probe_figure(every, "linear", replace(result.probes["linear"][0], direction="neither"))
    assert "better" not in described.layout.title.text


def test_a_measure_without_values_is_drawn_as_absent() -> None:
    result = probed()
    figure = probe_figure(groups(result), "linear", result.probes["linear"][1])
    assert all(value is None for line in figure.data for value in line.y)
    assert not figure.layout.shapes


def test_the_report_has_a_picture_for_each_measure_and_none_without_probes() -> None:
    assert {"probe/linear/accuracy", "probe/linear/count"} <= set(figures(probed()))
    assert not [name for name in figures(experiment()) if name.startswith("probe/")]


def test_a_measure_that_is_drawn_apart_has_a_picture_of_the_new_task_and_one_of_sets_outside() -> None:
    made = experiment()
    runs = [
        replace(
            run,
            probes={"far": {t: {name: {"kl": float(t)} for name in (*run.order, "docstrings")} for t in run.matrix}},
        )
        for run in made.runs
    ]
    measure = Measure("kl", "neither", "nats", "Far.", apart=True)
    result = replace(made, runs=runs, probes={"far": [measure]})
    found = probe_figures(groups(result), "far", measure)
    assert list(found) == ["probe/far/kl/the new task", "probe/far/kl/sets outside of the stream"]
    assert set(found) <= set(figures(result))
    new, outside = ({line.name: line for line in figure.data} for figure in found.values())
    assert (list(new["rewarm"].x), list(new["rewarm"].y)) == (["after english", "after german"], [1.0, 2.0])
    assert list(outside["rewarm"].y) == [0.0, 1.0, 2.0]
    assert "better" not in found["probe/far/kl/the new task"].layout.title.text


def test_the_table_has_the_mean_over_the_tasks_alone() -> None:
    made = probed()
    runs = [
        replace(run, probes={"linear": {t: row | {"docstrings": {"accuracy": 9.0}} for t, row in rows.items()}})
        for run in made.runs
        for rows in run.probes.values()
    ]
    for result in (made, replace(made, runs=runs)):
        table = strategies(result)
        place = next(i for i, column in enumerate(table.columns) if column.title == "linear accuracy")
        assert table.rows[0].values[place].number == pytest.approx(0.8)
