"""Settings of one task alone, and those that hold for all."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from cl import cli
from tests.support.training import write_toy

LR = {"value": 3e-3, "low": 1e-3, "high": 1e-2, "log": True}
SHARE = {"value": 0.25, "choices": [0.0, 0.1, 0.25, 0.5]}


def toy(folder: Path, tune: dict[str, Any], **changes: Any) -> Path:
    values = {
        "tokens": 1024,
        "train": {"lr": LR},
        "strategies": {"rewarm_replay": None},
        "strategy": {"replay": {"share": SHARE}},
        "tune": {"protocol": "per_task", "trials": 3} | tune,
    }
    return write_toy(folder, **(values | changes))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ("{german: {train: {eps: 0}}}", "train.eps: 0.0 must be positive"),
        ("{german: {train: {boundaries: false}}}", "by_task.german: train.boundaries holds for all tasks"),
        ("{french: {train: {lr: 1.0e-3}}}", "by_task: task: 'french' is unknown"),
        ("{german: {strategy: {replya: {share: 0.1}}}}", "strategy.replya: no strategy of this experiment has that"),
        ("{german: {strategy.replya.share: 0.1}}", "strategy.replya: no strategy of this experiment has that"),
        ("{german: {evaluation: {tokens: 9}}}", "by_task.german: evaluation.tokens holds for all tasks"),
    ],
)
def test_a_wrong_setting_of_one_task_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], values: str, words: str
) -> None:
    with contextlib.chdir(toy(tmp_path, {})):
        assert cli.main(["plan", "toyexp.yaml", f"--by_task={values}"]) == 2
    assert words in capsys.readouterr().err


def test_what_makes_the_stream_holds_for_all_tasks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with contextlib.chdir(toy(tmp_path, {}, strategies={"wsd": None}, strategy={}, train={"lr": 1e-3})):
        settings = ["--by_task={german: {strategy: {wsd: {decay: linear}}}}"]
        assert cli.main(["plan", "toyexp.yaml", *settings]) == 2
    assert "by_task.german: wsd makes the stream, the data or the evaluated model" in capsys.readouterr().err
