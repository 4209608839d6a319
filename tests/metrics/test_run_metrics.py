"""Metrics of a run: by hand, from its matrix and its curves."""

from __future__ import annotations

import dataclasses
import math

import pytest

from cl.metrics.records import Point, StageResult
from cl.metrics.run_metrics import adaptation, better, forgetting, peak
from cl.reporting.html.groups import is_reference
from tests.support.results import experiment, one_run


def test_metrics_of_a_matrix_computed_by_hand() -> None:
    run = one_run({0: {"english": 10.0, "german": 11.0}, 1: {"english": 4.0, "german": 9.0},
                   2: {"english": 6.5, "german": 5.0}})  # fmt: skip
    assert forgetting(run).value == pytest.approx(6.5 - 4.0)
    assert adaptation(run).value == pytest.approx(((10 - 4) + (9 - 5)) / 2)


def test_peak_sees_what_the_rows_of_r_do_not() -> None:
    replay = next(run for run in experiment().runs if "replay" in run.strategy)
    worst, final = peak(replay), forgetting(replay)
    english = [point.scores["english"] for point in replay.stages[1].points]
    assert worst.value == pytest.approx(max(english) - 4.39)
    assert worst.value > final.value + 0.1
    assert worst.key == "min_acc/every_25"


def test_a_run_whose_tasks_were_learned_apart_is_a_reference_and_forgets_nothing() -> None:
    run = dataclasses.replace(experiment().runs[0], independent=True)
    for metric in (forgetting(run), adaptation(run), peak(run)):
        assert math.isnan(metric.value)
        assert "from the base model" in metric.reason
    assert is_reference(run)


def test_the_peak_of_a_forked_stream_counts_from_the_fork_that_ended_the_task() -> None:
    def stage(row: int | None, offset: int, losses: list[float]) -> StageResult:
        points = [Point(step=i, tokens=i, seconds=0.0, scores={"english": loss}) for i, loss in enumerate(losses)]
        return StageResult("s", f"{offset}{row}", row, offset, len(losses) - 1, 0.0, 0.0, False, points, {})

    # trunk 1, its fork (ends at 4.0), trunk 2 from the end of trunk 1 (rises to 9.0), its fork.
    stages = [stage(None, 0, [8, 5]), stage(1, 1, [5, 4]), stage(None, 1, [5.0, 9.0]), stage(2, 2, [9.0, 8.5])]
    run = dataclasses.replace(experiment().runs[0], stages=stages, order=["english", "german"])
    assert peak(run).value == pytest.approx(9.0 - 4.0)


def test_a_stage_that_was_not_evaluated_inside_shows_no_peak() -> None:
    """The evaluation before its first update is that of the stage before: a peak of 0 would be made of nothing."""
    run = next(run for run in experiment().runs if "replay" in run.strategy)
    last = run.stages[-1]
    blind = [last.points[0], *(dataclasses.replace(point, scores={}) for point in last.points[1:])]
    run = dataclasses.replace(run, stages=[*run.stages[:-1], dataclasses.replace(last, points=blind)])
    assert math.isnan(peak(run).value)
    assert peak(run).reason == "english was not evaluated inside of later stages"


def test_better_ends_of_metrics() -> None:
    ends = {"op_final": "higher", "op_final_nll": "lower", "forgetting/first": "lower", "bwt/T-1": "higher",
            "bwt_nll": "higher", "op_t_nll/2": "lower", "adaptation/nll": "higher", "essential": "lower"}  # fmt: skip
    assert {key: better(key) for key in ends} == ends
