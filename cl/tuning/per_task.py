"""Hyperparameters chosen anew for each task as it comes: the continual hyperparameter framework.

For task t, with the values of earlier tasks held, on validation data of task t alone:

1. *Maximal plasticity*: the ranges under `train` are searched with everything else at its most plastic end; the best
   value of task t is what could be learned.
2. *Stability decay*: the strategy's own ranges start at their most stable end and decay until task t is learned within
   a margin of that.

So no data of later tasks, and none of earlier ones, is ever looked at to choose anything.

Source: De Lange et al., 1909.08383, section 4 (framework): margin p = 0.2, decay by 0.5, both of an accuracy.
Deviations: a loss may be higher by the margin where tasks have no scores; rates are searched by Optuna's sampler, not
on a grid; choices decay from their last to their first; a range ends at its `low`, which is taken where nothing else
keeps the margin.
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
from cl.graph.task_overrides import ONE_TASK
from cl.metrics.run_metrics import better
from cl.tasks import scenario
from cl.tuning import studies
from cl.tuning.search import Done
from cl.tuning.studies import StudyPlan

Values = dict[str, Any]
Tries = Sequence[Values]
Search = Callable[[StudyPlan, Tries | None, Callable[[float], bool]], Done]
"""Executes a study: by its sampler, or through some tries until one is good enough."""


@dataclass(frozen=True)
class Chosen:
    """What was chosen for a strategy in an order: by task, dotted settings; studies: all that were executed for it."""

    label: str
    order: str
    by_task: dict[str, Values]
    studies: list[Done]


def decays(spaces: Mapping[str, Range], decay: float, most: int) -> Iterator[Values]:
    """Values from the most stable to the most plastic end, at most so many, the last being the plastic end.

    A number is multiplied by `decay` until it would be below `low`, all numbers at once; choices go back one by one.
    """
    end, last = plastic(spaces), Values()
    for step in range(most - 1):
        values = {key: _decayed(space, decay, step) for key, space in spaces.items()}
        if values not in (end, last):
            yield (last := values)
    yield end


def _decayed(space: Range, decay: float, step: int) -> Any:
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
    """The end at which nothing is held: `low`, or the first choice."""
    return {key: space.choices[0] if space.choices else space.low for key, space in spaces.items()}


def kept(value: float, best: float, margin: float, lower: bool) -> bool:
    """Whether a task is learned well enough: a score of at least 1 - margin of the best, a loss of at most 1 + it."""
    return value <= (1 + margin) * best if lower else value >= (1 - margin) * best


def choose(raw: dict[str, Any], ranges: Mapping[str, Range], search: Search) -> tuple[Experiment, list[Chosen]]:
    """Choose for every strategy and order. Raises UserError for what cannot be tuned."""
    whole, labels = studies.checked(raw, ranges)
    if whole.by_task:
        raise UserError("by_task: is what per_task chooses; remove it")
    if wrong := [key for key in ranges if key.startswith("train.") and key not in ONE_TASK]:
        allowed = ", ".join(ONE_TASK)
        raise UserError(f"{wrong[0]}: cannot differ by task, as per_task would have it; search {allowed}")
    defined, known = scenario.load(whole.scenario), len(whole.model.knows)
    asked = [(label, order) for label in labels for order in defined.ordered(whole.orders, known)]
    own = {label: studies.applying(whole, ranges, label) for label in labels}
    for label, order in asked:  # before anything is trained
        _check(whole, raw, own[label], label, order)
    return whole, [_in_order(whole, raw, own[label], label, order, search) for label, order in asked]


def _check(whole: Experiment, raw: dict[str, Any], ranges: Mapping[str, Range], label: str, order: list[str]) -> None:
    """Refuse what could not be chosen by what a task's own loss shows."""
    parts = {part.name: part for part in studies.parts(whole, label)}
    for key, space in ranges.items():
        if key.startswith("train."):
            continue
        method, setting = key.split(".")[-2:]
        if setting in type(parts[method].method).memory_settings:
            raise UserError(f"{key}: acts by what is remembered of a task, which that task's own loss does not show; "
                            "tune it by first_k or two_stream")  # fmt: skip
        ends = [{key: space.choices[-1] if space.choices else space.high}, plastic({key: space})]
        plans = [_plan(whole, raw, label, order, len(order), {order[-1]: end}, {}, {}) for end in ends]
        if len({plan.keys[0] for plan in plans}) == 1:
            raise UserError(f"{key}: has no effect on {label} in any task; leave it out")


def _in_order(
    whole: Experiment, raw: dict[str, Any], ranges: Mapping[str, Range], label: str, order: list[str], search: Search
) -> Chosen:
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
    """Whether the ranges change anything up to this task: before the second most methods have nothing to hold."""
    ends = ({key: s.choices[-1] if s.choices else s.high for key, s in spaces.items()}, plastic(spaces))
    return len({studies.key_of(plan.experiment(end)) for end in ends}) > 1


def _plan(
    whole: Experiment, raw: dict[str, Any], label: str, order: list[str], t: int,
    by_task: Mapping[str, Values], spaces: Mapping[str, Range], fixed: Values,
) -> StudyPlan:  # fmt: skip
    """A study that learns the first t tasks, earlier ones with what was chosen for them."""
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
    """What `tuned.yaml` holds: see `cl.config.tune.Tuned`."""
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
