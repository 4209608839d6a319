"""Run studies with Optuna's samplers, pruners and database; each trial runs a strategy in its own process.

So the memory of a trial is freed when it ends, and a killed trial harms no other trial: its process ends when its
parent's pipe closes, and after a time without heartbeat another trial repeats its values, whose finished nodes are in
the store.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock

from cl.config.experiment import Experiment
from cl.errors import UserError
from cl.execution import child_process
from cl.hashing import digest
from cl.metrics.catalog import find
from cl.tuning import storage
from cl.tuning.studies import StudyPlan

LEFT = 20  # largest number of queued trials of an interrupted search that are run before a given one
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
    return study, storage.shown(database.url)


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
    return MedianHere()


def prunes(asked: StudyPlan) -> bool:
    """Whether trials can be pruned by their validation loss: the only objective is a mean loss."""
    return len(asked.objectives) == 1 and find(asked.objectives[0]).mean_loss


class MedianHere(optuna.pruners.BasePruner):
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


def optimize(
    asked: StudyPlan, study: optuna.Study, whole: Experiment, logs: Path, seen: Callable[[optuna.Study], None],
    once: bool = False,
) -> None:  # fmt: skip
    """Run trials until `tune.trials` are finished, counted over all processes that share the study.

    Args:
        asked: plan of the study.
        study: the Optuna study.
        whole: the experiment.
        logs: folder of the trials' log files.
        seen: called with the study after each trial.
        once: run one trial and return.
    """
    logs.mkdir(parents=True, exist_ok=True)

    def objective(trial: optuna.Trial) -> list[float]:
        values = {key: found.suggest(trial) for key, found in asked.space.items()}
        return run_trial(
            trial, asked, values, logs / f"{digest(asked.name)[:6]}-{trial.number}.log", whole.tune.workers
        )

    def after(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        seen(study)

    if once:
        study.optimize(objective, n_trials=1, callbacks=[after], catch=(TrialError,))
        return
    enough = optuna.study.MaxTrialsCallback(whole.tune.trials, states=FINISHED)
    if len(study.get_trials(deepcopy=False, states=FINISHED)) < whole.tune.trials:
        study.optimize(objective, n_jobs=whole.tune.workers, callbacks=[after, enough], catch=(TrialError,))


class TrialError(Exception):
    """A trial ended without values: the trial counts as failed and the study continues."""


def run_trial(trial: optuna.Trial, asked: StudyPlan, values: dict[str, Any], log: Path, workers: int) -> list[float]:
    """Run one trial in its own process and return its values.

    Args:
        trial: the Optuna trial.
        asked: plan of the study.
        values: values of the searched settings.
        log: file for the errors of the process.
        workers: number of trials at a time, which share the CPU cores.

    Raises:
        TrialPruned: the trial was pruned.
        TrialError: the trial ended without values; the message is the last line of its log.
    """
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    # safe path: a folder `strategies` in the working directory must not hide the package of that name
    environment = {"OMP_NUM_THREADS": threads, **os.environ, "PYTHONSAFEPATH": "1"}
    spec = {"experiment": asked.experiment(values), "objectives": asked.objectives}
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "cl.tuning.trial_process"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
        ) as child,
    ):  # fmt: skip
        assert child.stdin is not None and child.stdout is not None  # noqa: PT018
        child.stdin.write(json.dumps(spec))
        child.stdin.close()
        try:
            found = _follow(child.stdout, trial, single=len(asked.objectives) == 1)
        finally:
            child.terminate()  # pruned or interrupted: checkpoint and finished nodes stay in the store
    if found is None:
        words = log.read_text(encoding="utf-8").strip().splitlines()
        said = f"trial {trial.number} ended without a value: {words[-1] if words else 'no message'}; see {log}"
        trial.set_user_attr("error", said)
        raise TrialError(said)
    return found


def _messages(lines: Iterable[str], trial: optuna.Trial) -> Iterator[dict[str, Any]]:
    """The messages of a trial's process. Raises TrialError where the process refuses its experiment."""
    try:
        yield from child_process.messages(lines)
    except UserError as error:
        trial.set_user_attr("error", str(error))
        raise TrialError(str(error)) from error


def _follow(lines: Iterable[str], trial: optuna.Trial, single: bool) -> list[float] | None:
    """Read the lines of a trial's process and report them to Optuna; the values, or None if it ended without."""
    for said in _messages(lines, trial):
        for key in ("asked", "executed"):
            if key in said:
                trial.set_user_attr(key, said[key])
        if "values" in said:
            return [float(value) for value in said["values"]]
        if "step" in said and single:
            trial.report(said["value"], said["step"])
            if trial.should_prune():
                raise optuna.TrialPruned(f"after step {said['step']}")
    return None


def follow(
    asked: StudyPlan, study: optuna.Study, whole: Experiment, logs: Path, seen: Callable[[optuna.Study], None],
    tries: Sequence[Mapping[str, Any]], enough: Callable[[float], bool],
) -> optuna.trial.FrozenTrial:  # fmt: skip
    """Run trials with given values, one after another, until one is good enough.

    Values that the study has already tried are not run again.

    Args:
        asked: plan of the study.
        study: the Optuna study.
        whole: the experiment.
        logs: folder of the trials' log files.
        seen: called with the study after each trial.
        tries: values of each trial.
        enough: whether the first objective's value is good enough.

    Returns:
        The first trial that is good enough, otherwise the last one; the best one if the last has no value.

    Raises:
        UserError: no trial has a value.
    """
    alone = replace(whole, tune=replace(whole.tune, workers=1))
    for values in tries:
        found = _tried(asked, study, alone, logs, seen, values)
        if found.values and enough(found.values[0]):
            return found
    return found if found.values else choose(study)  # raises with the trial's error if no trial has a value


def _tried(
    asked: StudyPlan, study: optuna.Study, whole: Experiment, logs: Path, seen: Callable[[optuna.Study], None],
    values: Mapping[str, Any],
) -> optuna.trial.FrozenTrial:  # fmt: skip
    """The trial with these values, which is run if the study has none."""
    for _ in range(LEFT):  # an interrupted search may have left queued trials, which are run first
        if found := _with(study, values):
            return found
        if not _waits(study, values):
            study.enqueue_trial(dict(values))
        optimize(asked, study, whole, logs, seen, once=True)
    raise UserError(f"tune: {study.study_name!r} did not run {dict(values)}; inspect its trials with optuna-dashboard")


def _with(study: optuna.Study, values: Mapping[str, Any]) -> optuna.trial.FrozenTrial | None:
    """The finished trial with these values; a trial that was interrupted, not failed, does not count as finished."""
    trials = [t for t in study.get_trials(deepcopy=False, states=FINISHED) if t.params == values]
    ended = [t for t in trials if t.values or "error" in t.user_attrs]
    return max(ended, key=lambda trial: trial.values is not None, default=None)


def _waits(study: optuna.Study, values: Mapping[str, Any]) -> bool:
    """Whether a trial with these values is in the queue."""
    queued = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
    return any(trial.system_attrs.get("fixed_params") == values for trial in queued)


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
