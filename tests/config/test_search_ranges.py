"""Ranges next to values: `cl run` sees the values, `cl tune` the ranges."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import optuna
import pytest

from cl.config import loading, search_ranges
from cl.config.search_ranges import Range
from cl.errors import UserError
from tests.support.training import write_toy

LR = {"value": 1e-3, "low": 1e-4, "high": 1e-2, "log": True}


def test_values_stand_in_for_ranges() -> None:
    raw = {"train": {"lr": LR, "batch": {"value": 4, "low": 2, "high": 8, "step": 2}}, "a": {"value": 1}, "b": [1]}
    share = {"value": 0.0, "choices": [0.0, 0.25]}
    plain, ranges = search_ranges.extract(raw | {"strategy": {"replay": {"share": share}}})
    assert plain == {
        "train": {"lr": 1e-3, "batch": 4},
        "a": {"value": 1},  # a mapping that happens to have such a key is none
        "b": [1],
        "strategy": {"replay": {"share": 0.0}},
    }
    assert set(ranges) == {"train.lr", "train.batch", "strategy.replay.share"}
    assert ranges["train.lr"] == Range("train.lr", 1e-3, 1e-4, 1e-2, log=True)


def test_numbers_without_a_dot_are_numbers() -> None:
    assert search_ranges.extract({"lr": {"value": "1e-3", "low": "1e-4", "high": "1E-2"}})[1]["lr"] == Range(
        "lr", 1e-3, 1e-4, 1e-2
    )


def test_another_value_is_not_the_own_one() -> None:
    ranges = [Range("lr", 1e-4, 1e-4, 1e-2), Range("lr", 1e-3, 1e-4, 1e-2), Range("c", "x", choices=("x", "y"))]
    assert [each.another for each in ranges] == [1e-2, 1e-4, "y"]
    assert Range("c", 0.0, choices=(0.0, None, 1.0)).another == 1.0


def test_suggestions_are_of_the_kind_of_the_range() -> None:
    ranges = [Range("lr", 1e-3, 1e-4, 1e-2, log=True), Range("n", 4, 2, 8, step=2), Range("c", "x", choices=("x", "y"))]
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(0))
    for _ in range(20):
        trial = study.ask()
        lr, n, c = (each.suggest(trial) for each in ranges)
        assert 1e-4 <= lr <= 1e-2
        assert isinstance(n, int)
        assert n in (2, 4, 6, 8)
        assert c in ("x", "y")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"value": 1, "low": 2, "high": 3}, "lr: value 1 must be between low 2 and high 3"),
        ({"value": 1, "low": 1, "high": 1}, "must be between"),
        ({"value": 1, "low": 0, "high": 3, "log": True}, "log needs low 0 above 0"),
        ({"value": "a", "low": 0, "high": 3}, "must be numbers; or give choices"),
        ({"value": 1, "low": 0, "high": 3, "logg": True}, "lr: a search range has no 'logg'; it may have high, log"),
        ({"value": 1, "choices": [2, 3]}, "lr: value 1 is none of the choices"),
        ({"value": 1, "choices": [1]}, "must be a list of at least two"),
    ],
)
def test_what_is_no_range_is_refused(value: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        search_ranges.extract({"lr": value})


def test_a_run_takes_the_values_and_the_command_line_replaces_a_range(tmp_path: Path) -> None:
    write_toy(tmp_path, train={"lr": LR})
    with contextlib.chdir(tmp_path):
        assert loading.load("toyexp.yaml").train.lr == 1e-3
        raw, ranges = loading.read("toyexp.yaml", ["--train.lr=5e-3"])
    assert not ranges
    assert raw["train"]["lr"] == 5e-3
