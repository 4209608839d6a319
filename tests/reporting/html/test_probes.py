"""Pictures of probes: what is drawn of a measure, and what is absent."""

from __future__ import annotations

import pytest

from cl.metrics.records import Inside
from cl.reporting.html.figures import figures
from cl.reporting.html.groups import groups
from cl.reporting.html.probes import inside_figures, probe_figure
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


def test_a_measure_without_values_is_drawn_as_absent() -> None:
    result = probed()
    figure = probe_figure(groups(result), "linear", result.probes["linear"][1])
    assert all(value is None for line in figure.data for value in line.y)
    assert not figure.layout.shapes


def test_the_report_has_a_picture_for_each_measure_and_none_without_probes() -> None:
    assert {"probe/linear/accuracy", "probe/linear/count"} <= set(figures(probed()))
    assert not [name for name in figures(experiment()) if name.startswith("probe/")]


def test_a_stage_that_was_probed_inside_is_a_curve_from_the_state_before_it() -> None:
    result = probed()
    for run in result.runs:
        run.inside[:] = [Inside("linear", 2, step, {"english": {"accuracy": step / 100}}) for step in (30, 3)]
    found = inside_figures(groups(result), "linear", result.probes["linear"][0])
    assert list(found) == ["linear/accuracy/2"]
    lines = {line.name: line for line in found["linear/accuracy/2"].data}
    before, end = (result.runs[0].probes["linear"][row]["english"]["accuracy"] for row in (1, 2))
    line = lines["finetune, english"]
    assert list(line.x) == [0.5, 3, 30, result.runs[0].stages[1].points[-1].step]
    assert list(line.y) == pytest.approx([before, 0.03, 0.3, end])
    assert "probe/linear/accuracy/2" in figures(result)
