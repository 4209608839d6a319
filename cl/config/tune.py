"""Settings of `cl tune`, and the values that it chose."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cl.config.runtime import DATABASES, problem_of
from cl.errors import UserError
from cl.plain_values import SEEDS, require_amount, require_between, require_path
from cl.redaction import redacted

MOST_TRIALS, MOST_WORKERS = 1_000_000, 1000
MADE_FOR = ("scenario", "model", "tokens", "examples")
"""What chosen values are valid for, see `cl.config.experiment.made_for`."""


@dataclass(frozen=True)
class Tune:
    """How `cl tune` chooses hyperparameters.

    Search ranges are written in place of the values, see `cl.config.search_ranges`.

    Args:
        strategies: labels of the strategies that are tuned, each separately; by default all.
        protocol: data that values are chosen on. `first_k`: the first `first` tasks of each order, which no comparison
            then counts; `two_stream`: another scenario; `per_task`: each task's validation data, when the task
            arrives; `oracle`: the whole stream that is scored, which is cheating and is reported as cheating.
        first: for `first_k`: number of leading tasks.
        scenario: for `two_stream`: scenario by name or YAML path; it must share no task with the experiment's scenario.
        tokens: for `two_stream`: training tokens, as in the experiment's `tokens`; by default the experiment's value.
        examples: for `two_stream`: training examples, as in the experiment's `examples`; by default the experiment's
            value.
        margin: for `per_task`: share of the score or loss by which a task may be learned worse than with the most
            plastic values.
        decay: for `per_task`: factor by which the strategy's settings are lowered until a task is learned within the
            margin.
        objectives: metrics on the validation splits of the tasks, not for `per_task`; two or more give a Pareto front.
            By default the mean over tasks after the last stage.
        trials: number of trials of each study, pruned and failed trials included.
        sampler: `tpe`, `random`, `nsga2` (several objectives) or `grid` (ranges with `choices` only).
        pruner: `median`, `halving` or `none`. It stops a trial by its validation loss, after a task or inside one; so
            it acts only if the single objective is a mean loss.
        seed: seed of the sampler, and the only seed that trials train with.
        workers: number of trials at a time, each in its own process.
        storage: URL of Optuna's database; by default SQLite in the store. Several `cl tune` may share one study.
    """

    strategies: list[str] | None = None
    protocol: Literal["first_k", "two_stream", "per_task", "oracle"] = "first_k"
    first: int = 1
    scenario: str | None = None
    tokens: int | dict[str, int] | None = None
    examples: int | dict[str, int] | None = None
    margin: float = 0.2
    decay: float = 0.5
    objectives: list[str] | None = None
    trials: int = 20
    sampler: Literal["tpe", "random", "nsga2", "grid"] = "tpe"
    pruner: Literal["median", "halving", "none"] = "median"
    seed: int = 0
    workers: int = 1
    storage: str | None = None

    def __post_init__(self) -> None:
        require_between(self, "tune", first=(1, MOST_TRIALS), trials=(1, MOST_TRIALS), workers=(1, MOST_WORKERS))
        require_between(self, "tune", seed=(0, SEEDS - 1))
        require_path(self.scenario, "tune.scenario")
        if self.storage is not None and (problem := problem_of_storage(self.storage)):
            raise UserError(f"tune.storage: {redacted(self.storage)!r} {problem}")
        for name in ("tokens", "examples"):
            require_amount(getattr(self, name), f"tune.{name}")
        if not 0 < self.decay < 1 or self.margin < 0:
            raise UserError(f"tune: decay {self.decay} must be between 0 and 1, margin {self.margin} at least 0")
        if self.protocol == "per_task" and self.objectives is not None:
            raise UserError("tune.objectives: per_task always uses the score or loss of the arriving task; remove it")
        if (self.protocol == "two_stream") != (self.scenario is not None):
            raise UserError(f"tune.scenario: {self.scenario} with protocol {self.protocol}; two_stream alone needs one")
        if self.objectives is not None and len(set(self.objectives)) < max(1, len(self.objectives)):
            raise UserError(f"tune.objectives: {self.objectives} must name different metrics, one or more")


def problem_of_storage(url: str) -> str:
    """Why Optuna cannot use the URL of a database, with the remedy; empty if nothing is known against it."""
    kind = url.partition("://")[0].partition("+")[0]
    if kind not in (*DATABASES, "postgres") or "://" not in url:
        return "is no URL of a database; write sqlite:///FILE.db or postgresql://USER@HOST/NAME"
    return problem_of(re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url))


@dataclass(frozen=True)
class Tuned:
    """Values that `cl tune` chose, as read from its `tuned.yaml`.

    Args:
        protocol: protocol by which values were chosen.
        about: one sentence on how values were chosen.
        skip: number of leading tasks that values were chosen on.
        made_for: scenario, model and budgets of the experiment that values were chosen for.
        values: dotted settings by strategy and by task order (`*`: all orders).
    """

    protocol: Literal["first_k", "two_stream", "per_task", "oracle"]
    about: str
    skip: int
    values: dict[str, dict[str, dict[str, Any]]]
    made_for: dict[str, Any]

    def check(self) -> None:
        """Check what no type says. It is no part of the constructor, whose errors jsonargparse replaces by its own.

        Raises:
            UserError: for a negative number of tasks, and for unknown keys of `made_for`.
        """
        if self.skip < 0:
            raise UserError(f"tuned.skip: {self.skip} must be at least 0")
        if wrong := sorted(self.made_for.keys() - set(MADE_FOR)):
            raise UserError(f"tuned.made_for: {wrong[0]!r} is none of {', '.join(MADE_FOR)}; `cl tune` writes the file")

    def notes(self, labels: Sequence[str], made_for: Mapping[str, Any]) -> list[str]:
        """Sentences for every output of an experiment that uses these values.

        Args:
            labels: strategies of the experiment.
            made_for: scenario, model and budgets of the experiment.
        """
        text = f"hyperparameters chosen by {self.protocol}: {self.about}"
        found = [f"CHEATING: {text}" if self.protocol == "oracle" else text]
        if untuned := [label for label in labels if label not in self.values]:
            found.append(f"not tuned, with the values of the file: {', '.join(untuned)}")
        for key, value in self.made_for.items():
            if value != made_for[key]:
                found.append(f"hyperparameters were chosen with {key} {value}, and are used with {made_for[key]}")
        return found

    def of(self, label: str, order: str) -> dict[str, Any]:
        """Return the dotted settings of a strategy in a task order; none for a strategy that was not tuned.

        Raises:
            UserError: if the strategy was tuned, but not in this order.
        """
        own = self.values.get(label)
        if own is None:
            return {}
        if order not in own and "*" not in own:
            raise UserError(f"tuned: nothing was chosen for {label} in the order {order}; run `cl tune` on it")
        return own.get(order, own.get("*", {}))
