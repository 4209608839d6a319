"""Stages that are refused while planning: their methods together, the optimizer, the length of rows."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.errors import UserError
from tests.support.training import plan, write_strategy, write_toy


@pytest.mark.parametrize(
    ("methods", "settings", "error"),
    [
        (["lora"], ["--train.optimizer=muon"], "muon: Lora trains parameters of its own"),
        (["osf"], ["--train.optimizer=muon"], "muon: OSF (changes gradients|trains parameters)"),
        (["si"], ["--train.optimizer=schedule_free"], "schedule_free: SI follows the parameters"),
        (
            ["constant"],
            ["--train.optimizer=muon", "--train.devices=2", "--train.distributed=fsdp"],
            "muon does not work",
        ),
    ],
)
def test_what_an_optimizer_cannot_train_is_refused_while_planning(
    tmp_path: Path, methods: list[str], settings: list[str], error: str
) -> None:
    write_toy(tmp_path, strategies={"own": None})
    write_strategy(tmp_path, "own", methods)
    with pytest.raises(UserError, match=error):
        plan(tmp_path, *settings)


def test_replay_between_lengths_is_refused(tmp_path: Path) -> None:
    own = {"german": {"train": {"sequence": 64, "batch": 2}}}
    folder = write_toy(tmp_path, strategies={"rewarm_replay": None}, by_task=own, tokens=2048)
    with pytest.raises(UserError, match=r"rows of 64 tokens reads english, whose rows have 32"):
        plan(folder)


def test_two_schedules_in_one_stage_are_refused(tmp_path: Path) -> None:
    write_toy(tmp_path, strategies={"own": None})
    write_strategy(tmp_path, "own", ["rewarm_cosine", "constant"])
    with pytest.raises(UserError, match=r"strategies\.own: two schedules in stage 1"):
        plan(tmp_path)
