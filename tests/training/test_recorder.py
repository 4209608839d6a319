"""The recorder: points of the curve, and how often a stage is evaluated."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from cl import cli
from cl.config.checkpoints import Checkpoints
from cl.config.evaluation import Evaluation
from cl.training.recorder import Recorder, next_evaluation
from cl.training.snapshots import Snapshots
from tests.support.training import (
    dropout_model,
    eventful,
    run,
    stage_results,
    write_toy,
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: Any) -> Path:
    """A model directory with dropout, so that every random number counts."""
    return dropout_model(tmp_path_factory.mktemp("model"))


def test_a_loss_that_is_not_finite_stops_the_run_in_one_line(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.chdir(write_toy(tmp_path))
    assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none", "--train.lr=1e30"]) == 3
    assert "train english: diverged at step 2, last finite loss 5." in capsys.readouterr().err


class Clock:
    """Time that passes only when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


def recorded(share: float, seconds: float, tokens: int, monkeypatch: Any, steps: int = 200) -> Any:
    """The job after a stage of `steps` steps of a second and 100 tokens each; an evaluation takes `seconds`."""
    clock, one = Clock(), torch.tensor(1.0)
    monkeypatch.setattr("cl.training.recorder.time", clock)

    class Validation:
        def __init__(self) -> None:
            self.tokens = tokens

        def __call__(self, *args: Any) -> dict[str, float]:
            clock.now += seconds
            return {"english": 1.0}

    learner = SimpleNamespace(step=0, model=None, last={}, token_loss=SimpleNamespace(root=None), methods=[])
    counts = SimpleNamespace(batch_rows=10, row_tokens=10)
    job = SimpleNamespace(
        learner=learner, plan=counts, first=0, last=steps, validator=Validation(), device="cpu", precision="fp32",
        work=Path(), evaluation=Evaluation(share=share), checkpoints=Checkpoints(seconds=1e9), watcher=SimpleNamespace(
            progress=lambda done, total: None, point=lambda point: None
        ), points=[], seconds=0.0, eval_seconds=0.0,
        snapshots=Snapshots((), Path(), Path()), seen=lambda step: {"english": step * 100},
    )  # fmt: skip
    callback = Recorder(job, None)
    monkeypatch.setattr(callback, "_restore", lambda learner, optimizer: None)
    callback.optimizer = torch.optim.SGD([torch.nn.Parameter(one)])
    callback.begin(callback.optimizer)
    for step in range(1, steps + 1):
        clock.now += 1
        learner.step, learner.last = step, {"loss": one, "terms": {}, "grad_norm": one, "lr": 0.1}
        callback.on_train_batch_end(None, None, None, None, 0)
    return job


@pytest.mark.parametrize(
    ("share", "seconds", "tokens", "evaluations"),
    [
        (0.1, 0.5, 100, 21),  # all planned ones: 10.5 of 200 seconds
        (0.1, 2.0, 100, 10),  # 20 of 200 seconds
        (0.1, 30.0, 100, 1),  # dearer than forecast: once, and never again
        (0.1, 1.0, 7000, 0),  # forecast as 7000 / 3 of 20000 tokens: more than the share, so never
        (0.0, 1.0, 100, 0),
    ],
)
def test_evaluation_keeps_within_its_share(
    share: float, seconds: float, tokens: int, evaluations: int, monkeypatch: Any
) -> None:
    job = recorded(share, seconds, tokens, monkeypatch)
    assert sum(bool(point.scores) for point in job.points) == evaluations
    assert evaluations < 2 or job.points[-1].scores  # paced: some are left for the end
    assert job.eval_seconds == pytest.approx(evaluations * seconds)
    assert job.seconds == pytest.approx(200)  # evaluation is not training time


@pytest.mark.parametrize(
    ("points", "affordable", "expected"),
    [
        (4, 99, [12, 35, 65, 100]),  # 100 (i/4)^1.5 = 12.5, 35.4, 65.0, 100
        (1, 99, [100]),
        (99, 2, [35, 100]),  # two are left: 100 (1/2)^1.5 = 35.4, 100
        (4, 0, []),
    ],
)
def test_evaluations_by_hand(points: int, affordable: int, expected: list[int]) -> None:
    steps, at = [], next_evaluation(0, 100, points, affordable)
    while at <= 100:
        steps.append(at)
        affordable -= 1
        at = next_evaluation(int(at), 100, points, affordable)
    assert steps == expected


@pytest.mark.slow
def test_terms_are_in_the_curve_with_their_ratio(tmp_path: Path, model: Path) -> None:
    folder = eventful(tmp_path, model)
    run(folder)
    points = [point for stage in stage_results(folder, "anchored") for point in stage["points"] if point["step"]]
    for point in points:
        assert point["terms"]["anchor/ratio"] == pytest.approx(point["terms"]["anchor"] / point["loss"])
    assert max(point["terms"]["anchor"] for point in points) > 0
