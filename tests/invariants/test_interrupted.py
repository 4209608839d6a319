"""Interrupted equals uninterrupted: killed at any moment, a stream ends with the same bits."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from cl.data.batches import Batch
from cl.training.learner import Learner
from tests.support.instruction import write_stream
from tests.support.training import (
    STEPS,
    dropout_model,
    eventful,
    execute,
    learn,
    matrix,
    plan,
    run,
    stage_results,
    start,
    weights,
    write_toy,
)

pytestmark = [pytest.mark.filterwarnings(f"ignore:{name}") for name in ("reglora", "inf_lora")]


@pytest.fixture(scope="module")
def model(tmp_path_factory: Any) -> Path:
    """A model directory with dropout, so that every random number counts."""
    return dropout_model(tmp_path_factory.mktemp("model"))


KILLS = [
    "cl.data.token_files:Growing.append 2",  # a round of a data node is kept, the next one is not
    "cl.data.token_files:Growing.finish 1",  # in the other node: all rounds are kept, the file is not complete
    "cl.training.learner:Learner.training_step 8",  # in a step of the first task, after the checkpoint of step 5
    "cl.training.checkpoint:files 3",  # while the checkpoint of step 20 is being copied
    "cl.training.validation:Validator.__call__ 1",  # in an in-task evaluation
    "cl.models.pretrained:save 1",  # trained, and about to be stored
    "cl.execution.store:Store.publish 1",  # all files written, not yet published
    "cl.training.learner:Learner.training_step 3",  # in the second task, before its first checkpoint
    "cl.training.checkpoint:save_file 7",  # while its second checkpoint is being written
    "cl.training.validation:bytes_per_token 3",  # in the evaluation of the second row of R
]


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_killed_again_and_again_ends_with_the_same_bits(tmp_path: Path, model: Path) -> None:
    steps = 56  # of 4 rows each: more than two epochs of either task
    whole, broken = (eventful(tmp_path / name, model, steps) for name in ("whole", "broken"))
    run(whole)
    assert "rows are read 2." in "".join(stage_results(whole, "anchored")[0]["warnings"])
    for moment in KILLS:
        killed = start(broken, "--tracking.uri=none", module="tests.support.kill_driver", KILL=moment)
        assert killed.returncode == -signal.SIGKILL, f"{moment}: {killed.stdout[-2000:]} {killed.stderr[-2000:]}"
    done = start(broken, "--tracking.uri=none")
    assert done.returncode == 0, done.stderr
    assert weights(broken, "anchored") == weights(whole, "anchored")
    assert matrix(broken, "anchored") == matrix(whole, "anchored")
    for found, expected in zip(stage_results(broken, "anchored"), stage_results(whole, "anchored"), strict=True):
        for name in ("ledger", "ledger_before", "seen", "tokens", "steps"):
            assert found[name] == expected[name]


class CrashError(Exception):
    """Not an error of ours."""


def crash_at(monkeypatch: Any, step: int) -> None:
    """Raise in the step-th training step from now."""
    inner, calls = Learner.training_step, iter(range(1, step + 1))

    def training_step(self: Learner, batch: Batch, index: int) -> None:
        if next(calls) == step:
            raise CrashError
        inner(self, batch, index)

    monkeypatch.setattr(Learner, "training_step", training_step)


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: Any) -> Path:
    """An experiment that ran without an interruption."""
    folder = eventful(tmp_path_factory.mktemp("whole"), model)
    run(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("step", [8, STEPS, STEPS + 12])  # the last two: before the last step, in the second task
def test_interrupted_equals_uninterrupted(
    step: int, tmp_path: Path, model: Path, whole: Path, monkeypatch: Any
) -> None:
    broken = eventful(tmp_path, model)
    with monkeypatch.context() as patch:
        crash_at(patch, step)
        with pytest.raises(CrashError):
            run(broken)
    run(broken)
    assert weights(broken, "anchored") == weights(whole, "anchored")
    assert matrix(broken, "anchored") == matrix(whole, "anchored")


def test_who_looks_on_gets_every_point_of_a_resumed_node(tmp_path: Path, monkeypatch: Any) -> None:
    folder = write_toy(tmp_path, checkpoints={"steps": 10})
    graph, store = plan(folder)
    node = graph.runs[0].stages[0].node
    with monkeypatch.context() as patch:
        crash_at(patch, 17)
        with pytest.raises(CrashError):
            execute(folder, node, store)
    resumed = execute(folder, node, store)
    assert [point.step for key, point in resumed.points if key == node.key] == list(range(STEPS + 1))


@pytest.mark.slow
@pytest.mark.parametrize(
    "label",
    [
        *("lora_si", "reglora", "lora_ewc", "o_lora", "inf_lora", "lora_lwf", "lora_agem", "lora_der"),
        *("lora_alone", "prompt_tuning", "moe_lora", "osf"),
    ],
)
def test_interrupted_is_uninterrupted(label: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"strategies": {label: None}, "checkpoints": {"steps": 2}}
    whole, broken = (tmp_path / name for name in ("whole", "broken"))
    for folder in (whole, broken):
        folder.mkdir()
        write_stream(folder, **settings)
    expected_states = learn(whole)
    inner = Learner.training_step
    steps = iter(range(100))

    def training_step(self: Learner, batch: Any, index: int) -> None:
        if next(steps) == 9:  # the fourth of six steps of the second task: a checkpoint is behind it
            raise CrashError
        inner(self, batch, index)

    with monkeypatch.context() as patch:
        patch.setattr(Learner, "training_step", training_step)
        with pytest.raises(CrashError):
            learn(broken)
    for one, two in zip(expected_states, learn(broken), strict=True):
        files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
        assert files
        for file in files:
            expected, found = load_file(one / file), load_file(two / file)
            assert expected.keys() == found.keys()
            assert all(torch.equal(found[key], value) for key, value in expected.items())
