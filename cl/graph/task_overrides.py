"""Settings for the stages of a single task (`by_task` of an experiment)."""

from __future__ import annotations

from cl.config.loading import replaced
from cl.config.nested import flat
from cl.errors import UserError
from cl.graph.shared_nodes import SharedNodes
from cl.methods import strategy
from cl.methods.gates import Gates
from cl.methods.method import Merges, Method, PlansStages, Selects, TransformsData, overrides
from cl.methods.modulates import Modulates
from cl.methods.retrieves import Retrieves
from cl.methods.strategy import Strategy
from cl.registry import unknown

RATES = ("train.lr", "train.weight_decay", "train.betas", "train.eps", "train.clip")
"""Training settings that may differ between tasks and change no row."""
SHAPES = ("train.sequence", "train.batch", "train.micro_batch")
"""Training settings that may differ between tasks and change the rows of a step."""
ONE_TASK = (*RATES, *SHAPES)


OUTSIDE = TransformsData | Selects | Gates | Merges | Retrieves | Modulates
"""Methods that act outside of the training of a stage."""


def own(shared: SharedNodes, chosen: Strategy, task: str) -> tuple[SharedNodes, Strategy]:
    """Nodes and strategy of a task with own settings.

    Args:
        shared: nodes and settings of the experiment.
        chosen: the strategy.
        task: name of the task.

    Raises:
        UserError: for an unknown task, and for a setting that cannot differ between tasks.
    """
    experiment, scenario = shared.experiment, shared.scenario
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
        if _of_all_tasks(part.method) and part.settings != other.settings:
            raise UserError(
                f"by_task.{task}: {part.name} makes the stream, the data or the evaluated model: its settings hold for "
                "all tasks"
            )
    return shared.changed(one), changed


def _of_all_tasks(method: Method) -> bool:
    """Whether a method has an effect beyond the stages of one task."""
    beyond = isinstance(method, OUTSIDE) or method.adapter is not None
    return beyond or overrides(method, PlansStages.stages)
