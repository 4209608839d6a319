"""Studies executed: Optuna's samplers, pruners and database, each trial a run of a strategy in a process of its own.

So memory is given back, and a killed trial harms nobody: its process ends with its parent's pipe, and after a while
without a sign of life another one takes up its values, whose finished nodes are in the store.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from filelock import FileLock

from cl.config.experiment import Experiment
from cl.errors import UserError
from cl.hashing import digest
from cl.tuning import storage
from cl.tuning.studies import StudyPlan

LEFT = 20  # trials that an interrupted search may have left before one that is asked for
STARTUP = 4  # trials before the median pruner prunes
FINISHED = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL)


def open_study(asked: StudyPlan, whole: Experiment, scratch: Path, sampled: bool = True) -> tuple[optuna.Study, str]:
    """The study and its database's URL without password. A new study tries the file's own values first.

    sampled: by the experiment's sampler; else its trials are all given.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the terminal has its own progress
    scratch.mkdir(parents=True, exist_ok=True)
    with FileLock(scratch / "optuna.lock"):  # two that make the same tables would refuse each other
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
    """The sampler of a process that opens a study which was opened so often before: no two draw the same numbers."""
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
    """None unless the one objective is a mean loss: only then is a higher one half way a worse trial."""
    if whole.tune.pruner == "none" or not prunes(asked):
        return optuna.pruners.NopPruner()
    if whole.tune.pruner == "halving":
        return optuna.pruners.SuccessiveHalvingPruner()
    return MedianHere()


def prunes(asked: StudyPlan) -> bool:
    """Whether a study's trials can be pruned by their validation loss."""
    return len(asked.objectives) == 1 and asked.objectives[0].startswith(("op_final_nll", "op_mean_nll", "mft_nll"))


class MedianHere(optuna.pruners.BasePruner):
    """Prunes a trial that is worse than the median of finished ones at the very same step.

    Optuna's own median pruner takes a trial's best value so far, which stays that of the first task when the mean over
    more tasks is higher, so that it would never prune after that.
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
    """Run trials until as many as asked for are finished, by this process and all that share the study; or one."""
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
    """A trial that ended without values: it failed, the study goes on."""


def run_trial(trial: optuna.Trial, asked: StudyPlan, values: dict[str, Any], log: Path, workers: int) -> list[float]:
    """Run one trial in a process of its own and follow it. Raises TrialPruned, or TrialError with its last words."""
    threads = str(max(1, (os.cpu_count() or 1) // workers))
    # safe path: a folder `strategies` of the user's, in which the process begins, must not hide ours
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
            child.terminate()  # pruned or interrupted: its checkpoint and finished nodes stay
    if found is None:
        words = log.read_text(encoding="utf-8").strip().splitlines()
        said = f"trial {trial.number} ended without a value: {words[-1] if words else 'no message'}; see {log}"
        trial.set_user_attr("error", said)
        raise TrialError(said)
    return found


def _follow(lines: Iterable[str], trial: optuna.Trial, single: bool) -> list[float] | None:
    for line in lines:
        said = json.loads(line)
        if "error" in said:
            trial.set_user_attr("error", said["error"])
            raise TrialError(said["error"])
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
    """Run trials with these values in turn until one is good enough, and return it, or the last.

    Those that the study has already are not run again. The best of all where the last one has no value; UserError where
    none has.
    """
    alone = replace(whole, tune=replace(whole.tune, workers=1))
    for values in tries:
        found = _tried(asked, study, alone, logs, seen, values)
        if found.values and enough(found.values[0]):
            return found
    return found if found.values else choose(study)  # which says what went wrong where nothing has a value


def _tried(
    asked: StudyPlan, study: optuna.Study, whole: Experiment, logs: Path, seen: Callable[[optuna.Study], None],
    values: Mapping[str, Any],
) -> optuna.trial.FrozenTrial:  # fmt: skip
    """The trial with these values, which is run if the study has none."""
    for _ in range(LEFT):  # trials that an interrupted search left may have to be run before
        if found := _with(study, values):
            return found
        if not _waits(study, values):
            study.enqueue_trial(dict(values))
        optimize(asked, study, whole, logs, seen, once=True)
    raise UserError(f"tune: {study.study_name!r} does not take {dict(values)}; look at its trials by optuna-dashboard")


def _with(study: optuna.Study, values: Mapping[str, Any]) -> optuna.trial.FrozenTrial | None:
    """The trial that ended with these values: well, or else by an error of its own; an interruption is no end."""
    trials = [t for t in study.get_trials(deepcopy=False, states=FINISHED) if t.params == values]
    ended = [t for t in trials if t.values or "error" in t.user_attrs]
    return max(ended, key=lambda trial: trial.values is not None, default=None)


def _waits(study: optuna.Study, values: Mapping[str, Any]) -> bool:
    """Whether a trial with these values is in the queue."""
    queued = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
    return any(trial.system_attrs.get("fixed_params") == values for trial in queued)


def choose(study: optuna.Study) -> optuna.trial.FrozenTrial:
    """The best trial; of a Pareto front the one nearest to its ideal corner, objectives scaled to the front.

    Raises UserError where no trial has finished.
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
    """A study that has its trials, what was chosen, and where its database is."""

    plan: StudyPlan
    study: optuna.Study
    chosen: optuna.trial.FrozenTrial
    url: str


def counts(done: Done) -> dict[str, int]:
    """Trials by how they ended, and train nodes that they asked for and executed."""
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
