"""A study in Optuna: opened with sampler, pruner and database; the choice among its trials; its record."""

from __future__ import annotations

import math
import statistics
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock

from cl.config.experiment import Experiment
from cl.errors import UserError
from cl.metrics.catalog import find
from cl.tuning import storage
from cl.tuning.studies import StudyPlan

STARTUP = 4  # finished trials that the median pruner needs
FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)


def open_study(asked: StudyPlan, whole: Experiment, scratch: Path, sampled: bool = True) -> tuple[optuna.Study, str]:
    """The study, and the URL of its database without password.

    A new study tries the values written in the experiment first.

    Args:
        asked: plan of the study.
        whole: the experiment.
        scratch: folder of the default database and of lock files.
        sampled: use the experiment's sampler; otherwise all values are given by the caller.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the terminal shows progress itself
    scratch.mkdir(parents=True, exist_ok=True)
    with FileLock(scratch / "optuna.lock"):  # two processes cannot create the same tables at once
        database = storage.opened(whole.tune.storage, scratch)
        study = optuna.create_study(
            storage=database,
            pruner=_pruner(asked, whole),
            study_name=asked.name,
            directions=asked.directions,
            load_if_exists=True,
        )
        with storage.experimental():
            study.set_metric_names(asked.objectives)
        opened = int(study.user_attrs.get("opened", 0))
        study.set_user_attr("opened", opened + 1)
        study.sampler = _sampler(asked, whole, opened) if sampled else optuna.samplers.RandomSampler(whole.tune.seed)
        if sampled and whole.tune.sampler != "grid":
            study.enqueue_trial({key: found.value for key, found in asked.space.items()}, skip_if_exists=True)
    return study, storage.without_password(database.url)


def _sampler(asked: StudyPlan, whole: Experiment, opened: int) -> optuna.samplers.BaseSampler:
    """The sampler of a process; opened: number of earlier openings of the study, so that processes draw differently."""
    kind, seed, trials = whole.tune.sampler, whole.tune.seed + opened, whole.tune.trials
    if kind == "grid":
        if numbers := [key for key, found in asked.space.items() if not found.choices]:
            raise UserError(f"tune.sampler: a grid needs choices, and {numbers[0]} has a range; use tpe")
        size = math.prod(len(found.choices) for found in asked.space.values())
        if trials < size:
            raise UserError(f"tune.trials: {trials} are fewer than the {size} points of the grid; raise it or use tpe")
        return optuna.samplers.GridSampler({key: list(found.choices) for key, found in asked.space.items()}, seed)
    if kind == "random":
        return optuna.samplers.RandomSampler(seed)
    if kind == "nsga2":
        return optuna.samplers.NSGAIISampler(seed=seed, population_size=max(4, trials // 4))
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=min(10, max(4, trials // 3)))


def _pruner(asked: StudyPlan, whole: Experiment) -> optuna.pruners.BasePruner:
    """The pruner; it prunes nothing unless `prunes`, because only then a high intermediate loss means a bad trial."""
    if whole.tune.pruner == "none" or not prunes(asked):
        return optuna.pruners.NopPruner()
    if whole.tune.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner()
    return MedianAtStep()


def prunes(asked: StudyPlan) -> bool:
    """Whether trials can be pruned by their validation loss: the only objective is a mean loss."""
    return len(asked.objectives) == 1 and find(asked.objectives[0]).mean_loss


class MedianAtStep(optuna.pruners.BasePruner):
    """Prunes a trial that is worse than the median of finished trials at the very same step.

    Optuna's own median pruner compares a trial's best value so far. That value stays the loss of the first task once
    the mean over more tasks is higher, so it would never prune later.
    """

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether to stop the trial."""
        step = trial.last_step
        finished = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
        others = [t.intermediate_values[step] for t in finished if step in t.intermediate_values]
        if step is None or len(others) < STARTUP:
            return False
        sign = 1 if study.direction == optuna.study.StudyDirection.MINIMIZE else -1
        return sign * trial.intermediate_values[step] > sign * statistics.median(others)


def choose(study: optuna.Study) -> optuna.trial.FrozenTrial:
    """The best trial. On a Pareto front: the trial nearest to the ideal corner, each objective scaled to the front.

    Raises:
        UserError: no trial has a value.
    """
    front = study.best_trials
    if not front:
        errors = [t.user_attrs["error"] for t in study.get_trials(deepcopy=False) if "error" in t.user_attrs]
        raise UserError(f"tune: no trial of {study.study_name!r} has a value; {errors[-1] if errors else 'all failed'}")
    signs = np.array([1.0 if d == optuna.study.StudyDirection.MINIMIZE else -1.0 for d in study.directions])
    costs = np.array([trial.values for trial in front]) * signs
    spread = np.ptp(costs, axis=0)
    scaled = (costs - costs.min(0)) / np.where(spread > 0, spread, 1.0)
    return front[int(np.linalg.norm(scaled, axis=1).argmin())]


@dataclass(frozen=True)
class Done:
    """A finished study.

    Args:
        plan: plan of the study.
        study: the Optuna study.
        chosen: the chosen trial.
        url: URL of the database, without password.
    """

    plan: StudyPlan
    study: optuna.Study
    chosen: optuna.trial.FrozenTrial
    url: str


def counts(done: Done) -> dict[str, int]:
    """Number of trials by their end, and of train nodes that the trials asked for and executed."""
    trials = done.study.get_trials(deepcopy=False)
    states = {"complete": FINISHED[0], "pruned": FINISHED[1], "failed": FINISHED[2]}
    found = {name: sum(trial.state == state for trial in trials) for name, state in states.items()}
    return found | {key: sum(trial.user_attrs.get(key, 0) for trial in trials) for key in ("asked", "executed")}


def record(done: Done) -> dict[str, Any]:
    """A study as plain data."""
    trials = [
        {
            "number": trial.number,
            "state": trial.state.name,
            "values": trial.values,
            "params": trial.params,
            "steps": trial.intermediate_values,
            **trial.user_attrs,
        }
        for trial in done.study.get_trials(deepcopy=False)
    ]
    plan = done.plan
    return {
        "study": plan.name,
        "strategy": plan.label,
        "tasks": plan.tasks,
        "orders": plan.orders,
        "objectives": plan.objectives,
        "directions": plan.directions,
        "chosen": done.chosen.number,
        "counts": counts(done),
        "trials": trials,
    }
