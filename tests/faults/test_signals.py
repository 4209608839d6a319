"""SIGINT and SIGTERM at any moment: the exit code tells, no work is lost, the same command ends with the same bits."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from cl.training.checkpoint import newest
from tests.support.training import eventful, matrix, run, stage_results, start, weights

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("forked")]
STEPS = 24  # of 4 rows each
MANY = 120  # for processes that may be ahead of the one that gets the signal
MOMENTS = [
    "cl.tasks.scenario:load 1",  # planning
    "cl.data.token_files:Growing.append 2",  # in a data node
    "cl.training.learner:Learner.training_step 1",  # in the first step, with nothing to save
    "cl.training.learner:Learner.training_step 9",
    "cl.training.checkpoint:save_file 2",  # while a checkpoint is being written
    "cl.training.validation:Validator.__call__ 2",  # in an evaluation inside the stage
    "cl.execution.store:Store.publish 5",
    "cl.training.validation:bytes_per_token 1",  # in a row of R
    "cl.reporting.html.page:write 1",
]
IN_A_STEP = MOMENTS[3]


def stopped(folder: Path, moment: str, name: str, **environ: str) -> Any:
    """Run the experiment until a signal at a moment."""
    return start(folder, "--tracking.uri=none", module="tests.support.kill_driver", KILL=moment, SIGNAL=name, **environ)


def checkpoints(folder: Path) -> list[int]:
    """Steps of the newest checkpoints of unfinished nodes."""
    work = (folder / "store" / "work").iterdir()
    return [int(found.name) for path in work if (found := newest(path / "checkpoint")[0]) is not None]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The experiment, run without an interruption."""
    folder = eventful(tmp_path_factory.mktemp("whole"), "llama-tiny", STEPS)
    run(folder)
    return folder


def test_stopped_at_every_moment_ends_with_the_same_bits(tmp_path: Path, whole: Path) -> None:
    folder = eventful(tmp_path, Path("llama-tiny"), STEPS)
    for place, moment in enumerate(MOMENTS):
        name = ("SIGTERM", "SIGINT")[place % 2]
        ended = stopped(folder, moment, name)
        assert ended.returncode == 128 + signal.Signals[name], (moment, ended.stderr[-2000:])
        assert ended.stderr.strip().splitlines()[-1].startswith(f"cl: interrupted by {name}; "), moment
        assert "Traceback" not in ended.stderr, moment
        if moment == IN_A_STEP:
            assert checkpoints(folder) == [9]  # the step was finished and saved
    run(folder)
    assert matrix(folder, "anchored") == matrix(whole, "anchored")
    assert weights(folder, "anchored") == weights(whole, "anchored")
    for one, other in zip(stage_results(folder, "anchored"), stage_results(whole, "anchored"), strict=True):
        assert [point["step"] for point in one["points"]] == [point["step"] for point in other["points"]]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_several_processes_end_together_after_a_step(tmp_path: Path, name: str) -> None:
    folder = eventful(tmp_path, Path("llama-tiny"), MANY)
    settings = ["--tracking.uri=none", "--upto=1", "--train.devices=2", "--checkpoints.steps=1000"]
    moment = "cl.execution.listener:hear 16"
    ended = start(folder, *settings, module="tests.support.kill_driver", KILL=moment, SIGNAL=name)
    assert ended.returncode == 128 + signal.Signals[name], ended.stderr[-2000:]
    assert len(checkpoints(folder)) == 1
    assert start(folder, *settings).returncode == 0


def test_a_worker_of_a_cluster_saves_its_step(tmp_path: Path) -> None:
    folder = eventful(tmp_path, Path("llama-tiny"), MANY)
    settings = ["--tracking.uri=none", "--upto=1", "--launcher=ray", "--cluster.workers=1", "--checkpoints.steps=1000"]
    moment = "cl.reporting.terminal:ProgressListener.point 8"
    ended = start(folder, *settings, module="tests.support.kill_driver", KILL=moment, SIGNAL="SIGTERM")
    assert ended.returncode == 143, ended.stderr[-2000:]
    assert len(checkpoints(folder)) == 1


def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    folder = eventful(tmp_path, Path("llama-tiny"), STEPS)
    ended = stopped(folder, IN_A_STEP, "SIGINT", TWICE="1")
    assert ended.returncode == 130
    assert "ended at once by a second signal" in ended.stderr
