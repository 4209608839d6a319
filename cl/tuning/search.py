"""Run the trials of a study; each trial runs a strategy in its own process.

So the memory of a trial is freed when it ends, and a killed trial harms no other trial: its process ends when its
parent's pipe closes, and after a time without heartbeat another trial repeats its values, whose finished nodes are in
the store.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna

from cl import signals
from cl.config.experiment import Experiment
from cl.errors import UserError
from cl.execution import child_process
from cl.hashing import digest
from cl.tuning.optuna_study import FINISHED, choose
from cl.tuning.studies import StudyPlan

LEFT = 20  # largest number of queued trials of an interrupted search that are run before a given one


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
            with signals.passed_on(child.terminate):  # trials run in threads, which get no signal
                found = _follow(child.stdout, trial, single=len(asked.objectives) == 1)
        finally:
            child.terminate()  # pruned or interrupted: checkpoint and finished nodes stay in the store
    signals.check()
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
