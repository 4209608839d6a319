"""Looking, saving and surveying leave no trace in what is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.training import (
    ANCHORED,
    Surveyor,
    dropout_model,
    eventful,
    matrix,
    results,
    run,
    split_rows,
    stage_results,
    start,
    trained_rows,
    weights,
    write_strategy,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: Any) -> Path:
    """A model directory with dropout, so that every random number counts."""
    return dropout_model(tmp_path_factory.mktemp("model"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        ["--evaluation.share=0"],
        ["--evaluation.points=12", "--evaluation.probe_tokens=64"],
        ["--checkpoints.steps=3"],
    ],
)
def test_looking_and_saving_leave_no_trace(settings: list[str], tmp_path: Path, model: Path) -> None:
    plain, other = (eventful(tmp_path / name, model) for name in ("plain", "other"))
    run(plain)
    run(other, *settings)
    assert weights(other, "anchored") == weights(plain, "anchored")
    assert matrix(other, "anchored") == matrix(plain, "anchored")
    keys = [[stage["key"] for stage in results(folder)["runs"][0]["stages"]] for folder in (plain, other)]
    assert keys[0] == keys[1]
    assert looks(plain) > 0  # how many depends on the time they take
    assert (looks(other) > 0) == (settings[0] != "--evaluation.share=0")


def curve(folder: Path) -> list[dict[str, Any]]:
    """Points of both stages, without what the clock says."""
    points = [point for stage in stage_results(folder, "anchored") for point in stage["points"]]
    return [{name: value for name, value in point.items() if name != "seconds"} for point in points]


@pytest.mark.slow
def test_the_curve_does_not_depend_on_when_checkpoints_are_saved(tmp_path: Path, model: Path) -> None:
    folders = [eventful(tmp_path / name, model) for name in ("never", "always", "stopped")]
    never, always, stopped = (["--evaluation.share=0", f"--checkpoints.steps={steps}"] for steps in (1000, 1, 1))
    run(folders[0], *never)
    run(folders[1], *always)
    moment = {"KILL": "cl.training.learner:Learner.training_step 7"}
    for _ in range(2):  # each goes on from the checkpoint of the one before
        ended = start(folders[2], *stopped, "--tracking.uri=none", module="tests.support.kill_driver", **moment)
        assert ended.returncode == -9, ended.stderr[-2000:]
    assert start(folders[2], *stopped, "--tracking.uri=none").returncode == 0
    assert curve(folders[0]) == curve(folders[1]) == curve(folders[2])


def looks(folder: Path) -> int:
    """In-task evaluations of the first stage."""
    return sum(bool(point["scores"]) for point in stage_results(folder, "anchored")[0]["points"])


@pytest.mark.slow
def test_a_survey_sees_the_rows_of_the_stage_s_own_task_and_leaves_no_trace(
    tmp_path: Path, model: Path, monkeypatch: Any
) -> None:
    folder = eventful(tmp_path, model, 12)  # less than an epoch
    write_strategy(folder, "surveyed", [*ANCHORED[:2], {"tests.support.training:Surveyor": {}}])
    write_strategy(folder, "plain", ANCHORED[:2])
    monkeypatch.setattr(Surveyor, "seen", [])
    first, second, *_ = trained_rows(monkeypatch, folder, "--strategies={surveyed: null, plain: null}")
    assert weights(folder, "surveyed") == weights(folder, "plain")
    english = split_rows(folder, "english", "train")
    assert [sorted(rows) for rows in Surveyor.seen] == [sorted(first), sorted(set(second) - english)]
    assert not english.isdisjoint(second)  # replayed, and not seen
