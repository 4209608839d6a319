"""Settings of `cl order`, `cl compare` and `cl tune`, as frozen dataclasses that check themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from cl.errors import UserError


@dataclass(frozen=True)
class Tune:
    """How hyperparameters are chosen (`cl tune`).

    What to search stands next to the values, see `cl.config.search_ranges`.

    Args:
        strategies: labels that are tuned, each by itself; by default all.
        protocol: `first_k`: on the first `first` tasks of each order, which then count in no comparison; `two_stream`:
            on another scenario; `per_task`: each task's own, when it comes, on its validation data; `oracle`: on the
            whole stream that is scored, which is cheating and is called so.
        first: tasks of `first_k`.
        scenario: of `two_stream`: name or YAML path; it may share no task with the experiment's.
        tokens: of `two_stream`: as the experiment's `tokens`, for that scenario; by default the same.
        examples: of `two_stream`: as the experiment's `examples`; by default the same.
        margin: of `per_task`: how much worse than with nothing held a task may be learned, of its score or loss.
        decay: of `per_task`: factor on the strategy's own settings until a task is learned within the margin.
        objectives: metrics on the validation splits of the tasks, not for `per_task`; two or more give a Pareto front.
            By default the mean over tasks after the last one.
        trials: of each study, pruned and failed ones included.
        sampler: `tpe`, `random`, `nsga2` (several objectives) or `grid` (choices alone).
        pruner: `median`, `halving` or `none`: stops a trial after a task, or at a look inside one, by its validation
            loss; so only where the one objective is a mean loss.
        seed: of the sampler, and the only seed that trials train with.
        workers: trials at a time, each in a process of its own.
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
        for name in ("first", "trials", "workers"):
            if getattr(self, name) < 1:
                raise UserError(f"tune.{name}: {getattr(self, name)} must be at least 1")
        if not 0 < self.decay < 1 or self.margin < 0:
            raise UserError(f"tune: decay {self.decay} must be between 0 and 1, margin {self.margin} at least 0")
        if self.protocol == "per_task" and self.objectives is not None:
            raise UserError("tune.objectives: per_task looks at the task that comes, and at nothing else; remove it")
        if (self.protocol == "two_stream") != (self.scenario is not None):
            raise UserError(f"tune.scenario: {self.scenario} with protocol {self.protocol}; two_stream needs one")
        if self.objectives is not None and len(set(self.objectives)) < max(1, len(self.objectives)):
            raise UserError(f"tune.objectives: {self.objectives} must name different metrics, one or more")


@dataclass(frozen=True)
class Tuned:
    """What `cl tune` has chosen, as its `tuned.yaml` says.

    Args:
        protocol: how.
        about: in a sentence.
        skip: leading tasks that it was chosen on.
        made_for: scenario, model and budgets of the experiment that it was chosen for.
        values: by strategy and by order (`*`: all orders): dotted settings.
    """

    protocol: str
    about: str
    skip: int
    values: dict[str, dict[str, dict[str, Any]]]
    made_for: dict[str, Any]

    def notes(self, labels: Sequence[str], made_for: Mapping[str, Any]) -> list[str]:
        """What every output of a run with these strategies says, of an experiment with this scenario and budgets."""
        text = f"hyperparameters chosen by {self.protocol}: {self.about}"
        found = [f"CHEATING: {text}" if self.protocol == "oracle" else text]
        if untuned := [label for label in labels if label not in self.values]:
            found.append(f"not tuned, with the values of the file: {', '.join(untuned)}")
        for key, value in self.made_for.items():
            if value != made_for[key]:
                found.append(f"hyperparameters were chosen with {key} {value}, and are used with {made_for[key]}")
        return found

    def of(self, label: str, order: str) -> dict[str, Any]:
        """The settings of a strategy in an order. Raises UserError where nothing was chosen for it."""
        own = self.values.get(label)
        if own is None:
            return {}
        if order not in own and "*" not in own:
            raise UserError(f"tuned: nothing was chosen for {label} in the order {order}; run `cl tune` on it")
        return own.get(order, own.get("*", {}))
