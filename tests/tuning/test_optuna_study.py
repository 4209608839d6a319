"""Studies in Optuna: their samplers, which of them prune, and the choice among trials."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from cl.config import loading
from cl.errors import UserError
from cl.tuning import optuna_study, studies
from tests.support.training import write_toy
from tests.support.tuning import toy


def memory_study(values: list[list[float]], directions: list[Any]) -> optuna.Study:
    """A finished study of these values, in memory."""
    study = optuna.create_study(directions=directions)
    for each in values:
        study.add_trial(optuna.trial.create_trial(values=each, state=TrialState.COMPLETE))
    return study


def test_the_best_or_the_nearest_to_the_ideal_corner_is_chosen() -> None:
    assert optuna_study.choose(memory_study([[2.0], [1.0], [3.0]], ["minimize"])).number == 1
    assert optuna_study.choose(memory_study([[2.0], [1.0], [3.0]], ["maximize"])).number == 2
    # front: (0, 10), (0.3, 4), (1, 0); scaled (0, 1), (.3, .4), (1, 0): the middle one is .5 from the corner
    front = [[0.0, 10.0], [0.3, 4.0], [1.0, 0.0], [1.0, 9.0]]
    assert optuna_study.choose(memory_study(front, ["minimize", "minimize"])).number == 1
    signs = memory_study([[-a, b] for a, b in front], ["maximize", "minimize"])
    assert optuna_study.choose(signs).number == 1
    with pytest.raises(UserError, match=r"no trial of .* has a value"):
        optuna_study.choose(optuna.create_study())


@pytest.mark.slow
def test_what_is_no_mean_loss_is_not_pruned(tmp_path: Path) -> None:
    for objectives, pruned in {
        ("op_final_nll",): True,
        ("forgetting/first_nll",): False,
        ("mft_nll", "bwt_nll"): False,
    }.items():
        toy(tmp_path, {"protocol": "oracle", "objectives": list(objectives)})
        with contextlib.chdir(tmp_path):
            _, (plan,) = studies.plan(*loading.read("toyexp.yaml"))
        assert optuna_study.prunes(plan) == pruned


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed to be used with Study.optimize")
def test_samplers_of_processes_that_share_a_study_draw_other_numbers(tmp_path: Path) -> None:
    toy(tmp_path, {"protocol": "oracle", "sampler": "random"})
    with contextlib.chdir(tmp_path):
        whole, (plan,) = studies.plan(*loading.read("toyexp.yaml"))
        drawn = []
        for _ in range(2):
            study, _ = optuna_study.open_study(plan, whole, tmp_path / "scratch")
            study.ask()  # the file's own values
            drawn.append(plan.space["train.lr"].suggest(study.ask()))
    assert drawn[0] != drawn[1]
    grid = {
        "train": {"lr": {"value": 1e-3, "choices": [1e-3, 3e-3, 1e-2, 3e-2]}},
        "tune": {"trials": 3, "sampler": "grid"},
    }
    write_toy(tmp_path, **grid | {"strategies": {"rewarm": None}})
    with contextlib.chdir(tmp_path):
        whole, (plan,) = studies.plan(*loading.read("toyexp.yaml"))
        with pytest.raises(UserError, match=r"tune\.trials: 3 are fewer than the 4 points of the grid"):
            optuna_study.open_study(plan, whole, tmp_path / "scratch")
