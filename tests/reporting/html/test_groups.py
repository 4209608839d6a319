"""Runs of one strategy and one task order are one group."""

from __future__ import annotations

import dataclasses

import pytest

from cl.reporting.html.groups import groups, lines
from tests.support.results import experiment, with_runs


def test_lines_run_over_the_whole_stream_and_bands_span_the_seeds() -> None:
    group = groups(experiment((0, 2)))[0]
    first, second = lines(group, lambda point: point.scores.get("english"))
    assert (first.x[0], first.x[-1], second.x[0], second.x[-1]) == (0, 2e6, 2e6, 4e6)
    assert (second.low[-1], second.mean[-1], second.high[-1]) == pytest.approx((7.12, 7.15, 7.18))


def test_two_orders_are_two_groups_of_one_colour() -> None:
    run = experiment().runs[0]
    there, back = groups(with_runs(run, dataclasses.replace(run, order=["german", "english"])))
    assert there.label == "finetune (english → german)"
    assert there.colour == back.colour
    assert there.dash != back.dash
