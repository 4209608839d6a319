"""Training budget of each task, and checks of an experiment against its scenario.

The unit is the row: `train.sequence` tokens of text, one example of an instruction task, one passage, or one document
to read. Where sources are weighted (replay, joint training), every row counts as `train.sequence` tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cl.config.experiment import Experiment
from cl.config.nested import flat
from cl.errors import UserError
from cl.models import model_folder, pretrained
from cl.registry import unknown
from cl.tasks.scenario import Scenario

SETTING = {"text": "tokens", "instruction": "examples", "passage": "examples", "reading": "examples"}
"""Setting with the budget of each kind of task."""
FILLED = {"text": 1.0, "instruction": 0.3, "preference": 0.6, "passage": 0.3, "reading": 0.3}
"""Assumed share of `train.sequence` that a row fills, for cost estimates; planning does not read examples."""


class Budget:
    """Training rows of each task of an experiment.

    Args:
        experiment: the experiment.
        defined: its scenario.

    Raises:
        UserError: for a budget that is missing, without effect, or less than one optimizer step.
    """

    def __init__(self, experiment: Experiment, defined: Scenario) -> None:
        self.sequence, self.batch = experiment.train.sequence, experiment.train.batch
        self._own = {task: flat(settings) for task, settings in experiment.by_task.items()}
        given = {"tokens": experiment.tokens, "examples": experiment.examples}
        kinds = {name: task.kind for name, task in defined.tasks.items()}
        self._kinds = kinds | {name: task.kind for name, task in defined.general.items()}
        self._rows: dict[str, float] = {}
        for setting, amount in given.items():
            fitting = [task for task, kind in kinds.items() if SETTING[kind] == setting]
            budget = amount if isinstance(amount, dict) else dict.fromkeys(fitting, amount)
            if not isinstance(amount, dict) and not fitting:
                raise UserError(f"{setting}: {amount} has no effect: no task of {defined.name} is counted in {setting}")
            for task, number in budget.items():
                if task not in kinds:
                    raise UserError(unknown(f"{setting}: task", task, kinds))
                if task not in fitting:
                    raise UserError(f"{setting}.{task}: its kind is {kinds[task]}; give {SETTING[kinds[task]]}.{task}")
                self._rows[task] = self._checked(setting, task, number)
        for task, kind in kinds.items():
            if task not in self._rows and task not in experiment.model.knows:
                raise UserError(f"{SETTING[kind]}.{task}: is missing; give the training {SETTING[kind]} of every task")

    def _checked(self, setting: str, task: str, number: int) -> float:
        """Rows of a budget. Raises UserError if they are less than one optimizer step."""
        rows = number / self.length(task) if setting == "tokens" else number
        if rows < self._own.get(task, {}).get("train.batch", self.batch):
            step = "train.batch x train.sequence" if setting == "tokens" else "train.batch"
            raise UserError(f"{setting}.{task}: {number} is less than one optimizer step ({step})")
        return rows

    def length(self, task: str) -> int:
        """Tokens per row of a task."""
        return int(self._own.get(task, {}).get("train.sequence", self.sequence))

    @property
    def lengths(self) -> tuple[tuple[str, int], ...]:
        """Tokens per row of the tasks whose rows have another length than `train.sequence`."""
        found = ((task, self.length(task)) for task in sorted(self._own))
        return tuple((task, length) for task, length in found if length != self.sequence)

    def rows(self, task: str) -> float:
        """Training rows of a task."""
        return self._rows[task]

    def cost(self, tasks: Mapping[str, float], rows: float) -> int:
        """Estimate the tokens of a mixture of tasks.

        Args:
            tasks: share of each task.
            rows: number of rows.
        """
        return round(rows * self.sequence * sum(share * FILLED[self._kinds[task]] for task, share in tasks.items()))

    def weight(self, task: str) -> int:
        """Tokens of a task that the model knows, for the split of replay: its budget, or the largest budget."""
        return round(self._rows.get(task, max(self._rows.values())) * self.length(task))


def check(experiment: Experiment, defined: Scenario) -> None:
    """Check orders, revision, known tasks and packing.

    Args:
        experiment: the experiment.
        defined: its scenario.

    Raises:
        UserError: for names that the scenario does not have, and for impossible claims about the model.
    """
    model, tasks = experiment.model, list(defined.tasks)
    for order in defined.ordered(experiment.orders, len(model.knows)) if experiment.orders else ():
        if order[: len(model.knows)] != model.knows:
            raise UserError(f"orders: {order} must begin with what the model knows: {model.knows}")
    named = pretrained.tokenizer_model(model)
    if model.revision and "hub" not in map(pretrained.origin, (model.name, named.name)):
        raise UserError(f"model.revision: {model.revision} has no effect: nothing is from the hub; remove it")
    kinds = {task.kind for task in (*defined.tasks.values(), *defined.general.values())}
    if experiment.train.packing and kinds == {"text"}:
        raise UserError(f"train.packing: has no effect: {defined.name} is text, whose rows are full; leave it out")
    if model.knows != tasks[: len(model.knows)]:
        raise UserError(f"model.knows: {model.knows} must be the first of the tasks {tasks}")
    if model.knows and pretrained.origin(model.name) == "fresh":
        raise UserError(f"model.knows: {model.name} is a fresh model and knows nothing; remove the key")
    if pretrained.origin(model.name) == "directory":
        model_folder.check(Path(model.name), model.trust_remote_code)
    if len(model.knows) == len(tasks):
        raise UserError("model.knows: names every task; leave at least one to train")
