"""The pictures of a report."""

from __future__ import annotations

import dataclasses

import pytest

from cl.reporting.html.figures import figures
from cl.reporting.html.groups import groups
from tests.support.results import experiment, one_run, with_runs


def test_a_strategy_has_one_colour_everywhere() -> None:
    made = figures(experiment())
    for name in ("curve/english", "curve/german", "learning_rate"):
        colours = {trace.name: trace.line.color for trace in made[name].data}
        for group in groups(experiment()):
            assert colours[group.label] == group.colour
    labels = {a.text.split(" ")[0]: a.font.color for a in made["forgetting"].layout.annotations if a.name == "end"}
    assert labels == {group.label: group.colour for group in groups(experiment())}


def test_absent_rows_are_shown_as_absent() -> None:
    figure = figures(experiment())["matrix/joint"]
    assert list(figure.data[0].z[0]) == [None, None, None]
    assert list(figure.data[0].z[2]) == pytest.approx([4.35, 4.90, 6.88])
    assert [a.text for a in figure.layout.annotations] == ["absent"] * 6


def test_source_shares_come_from_what_was_consumed() -> None:
    figure = figures(experiment())["sources/rewarm_replay_25"]
    english, german = figure.data
    assert (english.name, german.name) == ("english", "german")
    assert (english.y[0], english.y[-1]) == pytest.approx((1.0, 0.25))
    assert (german.y[0], german.y[-1]) == pytest.approx((0.0, 0.75))


def test_loss_terms_get_a_picture_each_and_missing_data_none() -> None:
    run = experiment().runs[0]
    points = [dataclasses.replace(point, terms={"ewc": 0.1}) for point in run.stages[0].points]
    stage = dataclasses.replace(run.stages[0], points=points)
    made = figures(with_runs(dataclasses.replace(run, stages=[stage])))
    assert "terms/ewc" in made
    assert "learning_rate" not in figures(with_runs(one_run({1: {"english": 4.0}})))
