"""Which studies an experiment asks for: by strategy, and by what a protocol lets it look at.

`first_k`: the first tasks of an order; `two_stream`: another scenario; `oracle`: the whole stream that is scored, which
is cheating. A study's name carries a hash of all that a trial depends on, so that another question never goes on with
an old study.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from cl import experiment, metrics, scenario, strategy
from cl.errors import UserError
from cl.experiment import Experiment
from cl.measures import better
from cl.node import digest
from cl.scenario import Scenario
from cl.space import Range


@dataclass(frozen=True)
class StudyPlan:
    """One study: raw is the experiment of a trial but for the values of `space`; orders: those it chooses for."""

    label: str
    tasks: list[str]
    orders: list[str]
    objectives: list[str]
    space: dict[str, Range]
    raw: dict[str, Any]

    @property
    def name(self) -> str:
        """For people, with a hash of all that a trial depends on."""
        asked = [self.raw, self.objectives, {key: repr(found) for key, found in self.space.items()}]
        return f"{self.raw['name']}: {self.label} on {' > '.join(self.tasks)} #{digest(asked)[:6]}"

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Of the objectives, as Optuna has them."""
        return ["minimize" if better(key) == "lower" else "maximize" for key in self.objectives]

    def experiment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The experiment of a trial as plain data."""
        raw = copy.deepcopy(self.raw)
        for key, value in values.items():
            experiment.put(raw, key, value)
        return raw


def plan(raw: dict[str, Any], ranges: Mapping[str, Range]) -> tuple[Experiment, list[StudyPlan]]:
    """The studies that an experiment asks for. Raises UserError for what cannot be tuned."""
    whole = experiment.parse(raw)
    if not ranges:
        raise UserError("tune: nothing to search; write a range in place of a value, such as lr: {value: 1.0e-3, "
                        "low: 1.0e-4, high: 1.0e-2, log: true}")  # fmt: skip
    labels = whole.tune.strategies or list(whole.strategies)
    if wrong := [label for label in labels if label not in whole.strategies]:
        raise UserError(f"tune.strategies: {wrong[0]!r} is none of {', '.join(whole.strategies)}")
    studies: dict[str, StudyPlan] = {}
    for label in labels:
        for order, chosen_for in _streams(whole):
            own = _study(whole, raw, ranges, label, order, chosen_for)
            known = studies.get(own.name)
            studies[own.name] = own if known is None else _for_both(known, own)
    return whole, list(studies.values())


def _streams(whole: Experiment) -> list[tuple[list[str], str]]:
    """Tasks that may be looked at, and the order that values are chosen for by them."""
    tune, defined, known = whole.tune, scenario.load(whole.scenario), len(whole.model.knows)
    if tune.protocol == "two_stream":
        other = scenario.load(str(tune.scenario))
        _check_apart(defined, other)
        return [(list(other.tasks), "*")]
    found = defined.ordered(whole.orders, known)
    if tune.protocol == "first_k" and known + tune.first >= len(defined.tasks):
        raise UserError(f"tune.first: {tune.first} leaves none of {len(defined.tasks)} tasks to be scored; lower it")
    upto = known + tune.first if tune.protocol == "first_k" else None
    return [(order[:upto], " > ".join(order)) for order in found]


def _check_apart(defined: Scenario, other: Scenario) -> None:
    """Raises UserError where the two streams have a task in common."""
    own = {task.fingerprint() for task in defined.tasks.values()}
    if both := [name for name, task in other.tasks.items() if name in defined.tasks or task.fingerprint() in own]:
        raise UserError(f"tune.scenario: {both[0]!r} is also a task of {defined.name}; take a stream of other tasks")


def _study(
    whole: Experiment, raw: dict[str, Any], ranges: Mapping[str, Range], label: str, tasks: list[str], order: str
) -> StudyPlan:
    tune = whole.tune
    methods = {part.name for part in strategy.build(label, whole.strategies[label], whole.strategy).parts}
    own = copy.deepcopy(raw)
    for key in ("tune", "compare", "order", "tuned", "question", "output"):
        own.pop(key, None)
    own |= {"strategies": {label: raw["strategies"][label]}, "seeds": [tune.seed], "tracking": {"uri": "none"}}
    own["strategy"] = {name: settings for name, settings in (raw.get("strategy") or {}).items() if name in methods}
    own["evaluation"] = {**(raw.get("evaluation") or {}), "split": "validation"}
    if tune.protocol == "two_stream":
        own |= {"scenario": tune.scenario, "orders": None}
        own |= {} if tune.tokens is None else {"tokens": tune.tokens}
    else:
        rest = [task for task in scenario.load(whole.scenario).tasks if task not in tasks]  # which nobody looks at
        own |= {"orders": [tasks + rest], "upto": len(tasks)}
    space = {key: found for key, found in ranges.items() if _applies(key, label, methods)}
    if not space:
        raise UserError(f"tune: none of {', '.join(ranges)} is a setting of {label}; leave it out of tune.strategies")
    objectives = tune.objectives or [_default(whole.scenario if tune.scenario is None else tune.scenario)]
    _check_objectives(objectives, len(tasks), len(whole.model.knows))
    return StudyPlan(label, tasks, [order], objectives, space, own)


def _applies(key: str, label: str, methods: set[str]) -> bool:
    group, _, rest = key.partition(".")
    if group == "strategies":
        return rest.startswith(f"{label}.")
    return group != "strategy" or rest.partition(".")[0] in methods


def _default(name: str) -> str:
    kinds = {task.kind for task in scenario.load(name).tasks.values()}
    return "op_final" if kinds == {"instruction"} else "op_final_nll"


def _check_objectives(keys: list[str], tasks: int, known: int) -> None:
    """Raises UserError for a metric that no trial can have."""
    zeros = np.zeros((tasks + 1, tasks))
    having = metrics.summary(zeros) | metrics.summary(zeros, higher_is_better=False, known=known)
    having |= {found.key: found for found in metrics.forgetting_split(zeros, zeros)}
    for key in keys:
        if key not in having:
            raise UserError(f"tune.objectives: {key!r} is unknown; there are {', '.join(sorted(having))}")
        if math.isnan(having[key].value):
            raise UserError(f"tune.objectives: {key} of {tasks} task(s) is undefined: {having[key].reason}")


def _for_both(a: StudyPlan, b: StudyPlan) -> StudyPlan:
    """Orders that begin alike are one study."""
    return replace(a, orders=[*a.orders, *b.orders])


def tuned(whole: Experiment, chosen: Iterable[tuple[StudyPlan, Mapping[str, Any]]]) -> dict[str, Any]:
    """What `tuned.yaml` holds: see `cl.command_settings.Tuned`."""
    tune, chosen = whole.tune, list(chosen)
    looked = {
        "first_k": f"the first {tune.first} task(s) of each order, which count in no comparison",
        "two_stream": f"the stream {tune.scenario}",
        "oracle": "the very stream that is scored",
    }[tune.protocol]
    values: dict[str, dict[str, dict[str, Any]]] = {}
    for asked, params in chosen:
        for order in asked.orders:
            values.setdefault(asked.label, {})[order] = dict(params)
    objectives = ", ".join(dict.fromkeys(key for asked, _ in chosen for key in asked.objectives))
    return {
        "protocol": tune.protocol,
        "about": f"{tune.trials} trials of {tune.sampler} for each strategy by {objectives} on the validation data of "
        f"{looked}; seed {tune.seed}",
        "skip": len(whole.model.knows) + tune.first if tune.protocol == "first_k" else 0,
        "values": values,
    }
