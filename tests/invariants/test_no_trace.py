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
