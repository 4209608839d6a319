"""Plan the studies of an experiment: one per strategy and per stream that the protocol may use.

Protocols: `first_k` uses the first tasks of an order; `two_stream` another scenario; `oracle` the whole stream that is
scored, which is cheating. A study's name holds a hash of everything that a trial depends on, so that a changed
experiment never continues an old study.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from cl.config import experiment, loading, nested
from cl.config.experiment import Experiment
from cl.config.search_ranges import Range
from cl.errors import UserError
from cl.graph import planner
from cl.hashing import digest
from cl.methods import strategy
from cl.methods.strategy import Part
from cl.metrics import continual
from cl.metrics.run_metrics import better
from cl.tasks import scenario
from cl.tasks.scenario import Scenario
from cl.tasks.task import ANSWERED

SEARCHED = ("train", "strategy", "strategies")
"""Settings that a search may change: how a model learns, and nothing that it is measured by."""


@dataclass(frozen=True)
class StudyPlan:
    """One study.

    Args:
        label: label of the strategy.
        tasks: tasks that a trial learns.
        orders: task orders that the study chooses values for.
        objectives: metrics to optimize.
        space: range of each searched setting.
        raw: the experiment of a trial, without the values of `space`.
        keys: node keys of the trial with the values written in the experiment.
    """

    label: str
    tasks: list[str]
    orders: list[str]
    objectives: list[str]
    space: dict[str, Range]
    raw: dict[str, Any]
    keys: list[str]

    @property
    def name(self) -> str:
        """Readable name with a hash of all that a trial depends on; the node keys cover data and code."""
        asked = [self.raw, self.objectives, {key: repr(found) for key, found in self.space.items()}, self.keys]
        return f"{self.raw['name']}: {self.label} on {' > '.join(self.tasks)} #{digest(asked)[:6]}"

    @property
    def directions(self) -> list[Literal["minimize", "maximize"]]:
        """Direction of each objective, in Optuna's words."""
        return ["minimize" if better(key) == "lower" else "maximize" for key in self.objectives]

    def experiment(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The experiment of a trial with these values, as plain data."""
        raw = copy.deepcopy(self.raw)
        for key, value in values.items():
            nested.put(raw, key, value)
        return raw


def plan(raw: dict[str, Any], ranges: Mapping[str, Range]) -> tuple[Experiment, list[StudyPlan]]:
    """The experiment and its studies.

    Args:
        raw: the experiment as plain data, without ranges.
        ranges: the ranges to search, by dotted setting.

    Raises:
        UserError: the experiment cannot be tuned.
    """
    whole, labels = checked(raw, ranges)
    studies: dict[str, StudyPlan] = {}
    for label in labels:
        for order, chosen_for in _streams(whole):
            own = _study(whole, raw, ranges, label, order, chosen_for)
            known = studies.get(own.name)
            studies[own.name] = own if known is None else _for_both(known, own)
    return whole, list(studies.values())


def checked(raw: dict[str, Any], ranges: Mapping[str, Range]) -> tuple[Experiment, list[str]]:
    """The experiment and the labels to tune; arguments and errors as in `plan`."""
    whole = loading.parse(raw)
    if not ranges:
        raise UserError("tune: nothing to search; write a range in place of a value, such as lr: {value: 1.0e-3, "
                        "low: 1.0e-4, high: 1.0e-2, log: true}")  # fmt: skip
    if whole.launcher != "local":
        raise UserError(f"launcher: {whole.launcher} is not for trials, which are tune.workers processes of this "
                        "machine; to use more machines, share a study by tune.storage")  # fmt: skip
    labels = whole.tune.strategies or list(whole.strategies)
    if wrong := [label for label in labels if label not in whole.strategies]:
        raise UserError(f"tune.strategies: {wrong[0]!r} is none of {', '.join(whole.strategies)}")
    for key in ranges:
        if key.partition(".")[0] not in SEARCHED or any(
            key.startswith(f"strategies.{one}.") for one in labels if "." in one
        ):
            raise UserError(
                f"{key}: cannot be searched; ranges may stand under {', '.join(SEARCHED)}, in labels without dots"
            )
    return whole, labels


def _streams(whole: Experiment) -> list[tuple[list[str], str]]:
    """The tasks that a study may use, and the order that it chooses values for (`*`: every order)."""
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
    """Raise UserError if a task of the other stream reads a source of this one, whatever rows it takes."""
    sets = {**defined.tasks, **defined.retain, **defined.general}
    own = {part.source.fingerprint() for task in sets.values() for part in task.sources}
    for name, task in other.tasks.items():
        if name in sets or own & {part.source.fingerprint() for part in task.sources}:
            raise UserError(
                f"tune.scenario: {name!r} reads a source that a set of {defined.name} reads; "
                "use a scenario of other sources"
            )


def trial_of(whole: Experiment, raw: dict[str, Any], label: str, tasks: list[str]) -> dict[str, Any]:
    """The experiment of a trial without its searched values, as plain data.

    The trial learns `tasks` with the strategy `label` and is measured on validation data only.
    """
    tune = whole.tune
    methods = _methods(whole, label)
    own = copy.deepcopy(raw)
    for key in (
        "tune",
        "compare",
        "order",
        "probes",
        "probe_steps",
        "tuned",
        "question",
        "output",
        "launcher",
        "cluster",
    ):
        own.pop(key, None)
    own |= {"strategies": {label: raw["strategies"][label]}, "seeds": [tune.seed], "tracking": {"uri": "none"}}
    own["strategy"] = {name: settings for name, settings in (raw.get("strategy") or {}).items() if name in methods}
    own["evaluation"] = {**(raw.get("evaluation") or {}), "split": "validation"}
    if tune.protocol == "two_stream":
        own |= {"scenario": tune.scenario, "orders": None}
        budgets = {"tokens": tune.tokens, "examples": tune.examples}
        own |= {key: amount for key, amount in budgets.items() if amount is not None}
    else:
        rest = [task for task in scenario.load(whole.scenario).tasks if task not in tasks]  # never read
        own |= {"orders": [tasks + rest], "upto": len(tasks)}
    return own


def applying(whole: Experiment, ranges: Mapping[str, Range], label: str) -> dict[str, Range]:
    """The ranges of settings that a strategy has. Raises UserError if the strategy has none of them."""
    methods = _methods(whole, label)
    space = {key: found for key, found in ranges.items() if _applies(key, label, methods)}
    if not space:
        raise UserError(f"tune: none of {', '.join(ranges)} is a setting of {label}; leave it out of tune.strategies")
    return space


def scored(whole: Experiment) -> bool:
    """Whether the tasks of a trial are scored by answers."""
    kinds = {task.kind for task in scenario.load(whole.tune.scenario or whole.scenario).tasks.values()}
    return kinds <= set(ANSWERED) and whole.evaluation.items > 0


def parts(whole: Experiment, label: str) -> list[Part]:
    """The methods of a strategy."""
    return strategy.build(label, whole.strategies[label], whole.strategy).parts


def _methods(whole: Experiment, label: str) -> set[str]:
    """Names of the methods of a strategy."""
    return {part.name for part in parts(whole, label)}


def _study(
    whole: Experiment, raw: dict[str, Any], ranges: Mapping[str, Range], label: str, tasks: list[str], order: str
) -> StudyPlan:
    """The study of one strategy on some tasks. Raises UserError for a range that changes nothing on these tasks."""
    own, space = trial_of(whole, raw, label, tasks), applying(whole, ranges, label)
    objectives = whole.tune.objectives or ["op_final" if scored(whole) else "op_final_nll"]
    _check_objectives(objectives, len(tasks), len(whole.model.knows), scored(whole))
    found = StudyPlan(label, tasks, [order], objectives, space, own, [key_of(own)])
    for key, searched in space.items():
        if key_of(found.experiment({key: searched.another})) == found.keys[0]:
            raise UserError(
                f"{key}: has no effect on {label} before the end of {' > '.join(tasks)}; "
                "raise tune.first or leave it out"
            )
    return found


def key_of(raw: dict[str, Any]) -> str:
    """Key of a trial's run: the hash of all nodes that it needs."""
    (run,) = planner.build(loading.parse(raw)).runs
    return run.key


def _applies(key: str, label: str, methods: set[str]) -> bool:
    """Whether a dotted setting belongs to a strategy."""
    group, _, rest = key.partition(".")
    if group == "strategies":
        return rest.startswith(f"{label}.")
    return group != "strategy" or rest.partition(".")[0] in methods


def _check_objectives(keys: list[str], tasks: int, known: int, scored: bool) -> None:
    """Raise UserError for a metric that no trial can have."""
    having = continual.defined(tasks, 0, known, scored, keys)
    for key in keys:
        if key not in having:
            raise UserError(f"tune.objectives: {key!r} is unknown; there are {', '.join(sorted(having))}")
        if math.isnan(having[key].value):
            raise UserError(f"tune.objectives: {key} of {tasks} task(s) is undefined: {having[key].reason}")


def _for_both(a: StudyPlan, b: StudyPlan) -> StudyPlan:
    """One study for two orders that begin with the same tasks."""
    return replace(a, orders=[*a.orders, *b.orders])


def tuned(whole: Experiment, chosen: Iterable[tuple[StudyPlan, Mapping[str, Any]]]) -> dict[str, Any]:
    """The content of `tuned.yaml`, see `cl.config.tune.Tuned`."""
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
        "about": f"{tune.trials} trials of {tune.sampler} each for {', '.join(values)} by {objectives} on the "
        f"validation data of {looked}; seed {tune.seed}",
        "made_for": experiment.made_for(whole),
        "skip": len(whole.model.knows) + tune.first if tune.protocol == "first_k" else 0,
        "values": values,
    }
