"""Settings that hold while one task is learned (`by_task` of an experiment)."""

from __future__ import annotations

from cl.config.loading import replaced
from cl.config.nested import flat
from cl.errors import UserError
from cl.graph.shared_nodes import Ground
from cl.methods import strategy
from cl.methods.method import Method
from cl.methods.strategy import Strategy
from cl.registry import unknown

ONE_TASK = ("train.lr", "train.weight_decay", "train.betas", "train.eps", "train.clip")
"""Settings of training that may differ by task: nothing that a budget, a row or another task depends on."""
STREAM = ("stages", "transform", "chosen", "merge", "alone", "stands_on_base")
"""Hooks whose effect is not of one stage."""


def own(ground: Ground, chosen: Strategy, task: str) -> tuple[Ground, Strategy]:
    """What one task stands on. Raises UserError for a task or a setting that cannot have its own."""
    experiment, scenario = ground.experiment, ground.scenario
    if task not in scenario.tasks:
        raise UserError(unknown("by_task: task", task, scenario.tasks))
    values = flat(experiment.by_task[task])
    for key in values:
        if key not in ONE_TASK and not key.startswith(("strategy.", "strategies.")):
            allowed = f"{', '.join(ONE_TASK)}, or a strategy's settings"
            raise UserError(f"by_task.{task}: {key} holds for all tasks; one task may have {allowed}")
    one = replaced(experiment, {**values, "by_task": {}})
    changed = strategy.build(chosen.label, one.strategies[chosen.label], one.strategy)
    for part, other in zip(chosen.parts, changed.parts, strict=True):
        hooks = [hook for hook in STREAM if getattr(type(part.method), hook) is not getattr(Method, hook)]
        if hooks and part.settings != other.settings:
            raise UserError(
                f"by_task.{task}: {part.name} ({hooks[0]}) makes the stream, the data or what is evaluated: its "
                "settings hold for all tasks"
            )
    return Ground(one, scenario), changed
