"""Hyperparameters chosen for each task when it arrives: the continual hyperparameter framework.

For task t, with the values of earlier tasks fixed, on validation data of task t alone:

1. *Maximal plasticity*: the ranges under `train` are searched while all other ranges are at their most plastic end. The
   best value of the objective shows how well the model can learn task t.
2. *Stability decay*: the strategy's own ranges start at their most stable end and decay until task t is learned within
   a margin of that best value.

So no choice uses data of earlier or later tasks.

Source: De Lange et al., 1909.08383, section 4 (framework): margin p = 0.2, decay by 0.5, both of an accuracy.

Deviations:

* if tasks have no scores, the margin is on the loss, which may be higher by the margin;
* learning rates are searched by Optuna's sampler, not on a grid;
* choices decay from the last to the first;
* a range ends at its `low`, which is used if no other value keeps the margin.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from cl.config import experiment, nested
from cl.config.experiment import Experiment
from cl.config.search_ranges import Range
from cl.errors import UserError
from cl.graph.task_overrides import RATES
from cl.methods.method import Remembers
from cl.metrics.run_metrics import better
from cl.tasks import scenario
from cl.tuning import studies
from cl.tuning.optuna_study import Done
from cl.tuning.studies import StudyPlan

Values = dict[str, Any]
Tries = Sequence[Values]
Search = Callable[[StudyPlan, Tries | None, Callable[[float], bool]], Done]
"""Executes a study: with its sampler, or through given trials (values) until one is good enough."""


@dataclass(frozen=True)
class Chosen:
    """Values chosen for one strategy in one task order.

    Args:
        label: label of the strategy.
        order: the task order, as "a > b > c".
        by_task: chosen values by task, as dotted settings.
        studies: all studies that were run for the choice.
    """

    label: str
    order: str
    by_task: dict[str, Values]
    studies: list[Done]


def decays(spaces: Mapping[str, Range], decay: float, most: int) -> Iterator[Values]:
    """Values from the most stable to the most plastic end; the last is the plastic end.

    All numbers are multiplied by `decay` together, each at least its `low`; choices go back one by one.

    Args:
        spaces: range of each setting.
        decay: factor per step.
        most: largest number of values.
    """
    end, last = plastic(spaces), Values()
    for step in range(most - 1):
        values = {key: _decayed(space, decay, step) for key, space in spaces.items()}
        if values not in (end, last):
            yield (last := values)
    yield end


def _decayed(space: Range, decay: float, step: int) -> Any:
    """Value of a range after `step` decays, rounded to the range's step and bounds."""
    if space.choices:
        return space.choices[max(0, len(space.choices) - 1 - step)]
    assert space.low is not None and space.high is not None  # noqa: PT018
    value = max(space.low, space.high * decay**step)
    if space.step is not None:
        steps = min(round((value - space.low) / space.step), math.floor((space.high - space.low) / space.step + 1e-9))
        value = space.low + space.step * steps
    value = min(max(value, space.low), space.high)
    return int(value) if all(isinstance(each, int) for each in (space.low, space.value, space.high)) else value


def plastic(spaces: Mapping[str, Range]) -> Values:
    """The most plastic end of each range, which holds nothing: `low`, or the first choice."""
    return {key: space.choices[0] if space.choices else space.low for key, space in spaces.items()}


def kept(value: float, best: float, margin: float, lower: bool) -> bool:
    """Whether a task is learned within the margin of the best value.

    Args:
        value: score or loss of the trial.
        best: best score or loss at maximal plasticity.
        margin: a score must be at least (1 - margin) * best, a loss at most (1 + margin) * best.
        lower: whether lower is better (a loss).
    """
    return value <= (1 + margin) * best if lower else value >= (1 - margin) * best


def choose(raw: dict[str, Any], ranges: Mapping[str, Range], search: Search) -> tuple[Experiment, list[Chosen]]:
    """Choose values for every strategy and order.

    Args:
        raw: the experiment as plain data, without ranges.
        ranges: the ranges to search, by dotted setting.
        search: executes a study.

    Raises:
        UserError: a range cannot be tuned per task.
    """
    whole, labels = studies.checked(raw, ranges)
    if whole.by_task:
        raise UserError("by_task: the protocol per_task sets it; remove it")
    if wrong := [key for key in ranges if key.startswith("train.") and key not in RATES]:
        allowed = ", ".join(RATES)
        raise UserError(f"{wrong[0]}: is not chosen for a task by its own loss, so per_task cannot; search {allowed}")
    defined, known = scenario.load(whole.scenario), len(whole.model.knows)
    asked = [(label, order) for label in labels for order in defined.ordered(whole.orders, known)]
    own = {label: studies.applying(whole, ranges, label) for label in labels}
    for label, order in asked:  # check all before anything is trained
        _check(whole, raw, own[label], label, order)
    return whole, [_in_order(whole, raw, own[label], label, order, search) for label, order in asked]


def _check(whole: Experiment, raw: dict[str, Any], ranges: Mapping[str, Range], label: str, order: list[str]) -> None:
    """Raise UserError for a range that a task's own loss cannot decide, or that changes nothing."""
    parts = {part.name: part for part in studies.parts(whole, label)}
    for key, space in ranges.items():
        if key.startswith("train."):
            continue
        method, setting = key.split(".")[-2:]
        chosen = parts[method].method
        if isinstance(chosen, Remembers) and setting in chosen.memory_settings:
            raise UserError(f"{key}: changes the memory of a task, which does not affect that task's own loss; "
                            "tune it by first_k or two_stream")  # fmt: skip
        ends = [{key: space.choices[-1] if space.choices else space.high}, plastic({key: space})]
        plans = [_plan(whole, raw, label, order, len(order), {order[-1]: end}, {}, {}) for end in ends]
        if len({plan.keys[0] for plan in plans}) == 1:
            raise UserError(f"{key}: has no effect on {label} in any task; leave it out")


def _in_order(
    whole: Experiment, raw: dict[str, Any], ranges: Mapping[str, Range], label: str, order: list[str], search: Search
) -> Chosen:
    """Choose the values of one strategy, task after task of one order."""
    rates = {key: space for key, space in ranges.items() if key.startswith("train.")}
    stable = {key: space for key, space in ranges.items() if key not in rates}
    by_task: dict[str, Values] = {}
    done: list[Done] = []
    for t in range(len(whole.model.knows) + 1, len(order) + 1):
        first = _plan(whole, raw, label, order, t, by_task, rates, plastic(stable))
        done.append(search(first, None if rates else [{}], lambda value: False))
        best, values = done[-1].chosen.values[0], {**done[-1].chosen.params, **plastic(stable)}
        second = _plan(whole, raw, label, order, t, by_task, stable, values)
        if stable and acts(second, stable):
            lower = better(first.objectives[0]) == "lower"
            tries = list(decays(stable, whole.tune.decay, whole.tune.trials))
            enough = partial(kept, best=best, margin=whole.tune.margin, lower=lower)
            done.append(search(second, tries, enough))
            values |= done[-1].chosen.params
        by_task[order[t - 1]] = values
    return Chosen(label, " > ".join(order), by_task, done)


def acts(plan: StudyPlan, spaces: Mapping[str, Range]) -> bool:
    """Whether the ranges change any node up to the plan's last task; most methods hold nothing before the second."""
    ends = ({key: s.choices[-1] if s.choices else s.high for key, s in spaces.items()}, plastic(spaces))
    return len({studies.key_of(plan.experiment(end)) for end in ends}) > 1


def _plan(
    whole: Experiment, raw: dict[str, Any], label: str, order: list[str], t: int,
    by_task: Mapping[str, Values], spaces: Mapping[str, Range], fixed: Values,
) -> StudyPlan:  # fmt: skip
    """The study of task t: learn the first t tasks, the earlier ones with the values chosen for them."""
    own = studies.trial_of(whole, raw, label, order[:t])
    own["by_task"] = {task: dict(values) for task, values in by_task.items()}
    for key, value in fixed.items():
        nested.put(own, key, value)
    scored = studies.scored(whole)
    return StudyPlan(
        label=label,
        tasks=order[:t],
        orders=[" > ".join(order)],
        objectives=[f"learned/{t}" if scored else f"learned_nll/{t}"],
        space=dict(spaces),
        raw=own,
        keys=[studies.key_of(own)],
    )


def tuned(whole: Experiment, chosen: Iterable[Chosen]) -> dict[str, Any]:
    """The content of `tuned.yaml`, see `cl.config.tune.Tuned`."""
    tune, values = whole.tune, dict[str, dict[str, dict[str, Any]]]()
    for each in chosen:
        values.setdefault(each.label, {})[each.order] = {"by_task": each.by_task}
    return {
        "protocol": tune.protocol,
        "about": f"for each task as it comes, on its validation data: rates by {tune.trials} trials of {tune.sampler}, "
        f"then stability decaying by {tune.decay:g} until within {tune.margin:g} of the best; seed {tune.seed}",
        "made_for": experiment.made_for(whole),
        "skip": 0,
        "values": values,
    }
