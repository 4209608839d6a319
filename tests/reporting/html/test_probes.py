"""Pictures of probes: what is drawn of a measure, and what is absent."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cl.reporting.html.figures import figures
from cl.reporting.html.groups import groups
from cl.reporting.html.probes import probe_figure
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
