"""Rows of a stage: the ledger at its start, the batch of each step, and the rows that were trained on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import Dataset

from cl.data.batches import Batch, collate
from cl.data.mixture import Ledger, Plan
from cl.data.rows import Row, Rows
from cl.graph.roles import STATE, Inputs
from cl.graph.specs import TrainSpec
from cl.graph.stored import result_of
from cl.methods.edits_rows import Ahead, EditsRows, Replaced
from cl.methods.method import Trains
from cl.training import distributed

MEMORY = "memory.safetensors"


def stage_seed(seed: int, t: int) -> int:
    """Seed of the random generators of a stage, from the run's seed and the stage's number."""
    return seed * 1_000_003 + t


def stage_plan(spec: TrainSpec, ledger: Ledger, sources: Mapping[str, Rows]) -> Plan:
    """The plan of a stage's rows.

    Args:
        spec: specification of the train node.
        ledger: ledger at the start of the stage.
        sources: training rows by data set.
    """
    return Plan.build(
        spec.shares,
        ledger,
        {name: len(found) for name, found in sources.items()},
        batch_rows=spec.train.batch,
        steps=spec.steps,
        seed=spec.seed,
        row_tokens=spec.train.sequence,
        ordered={name for name, found in sources.items() if found.ordered},
    )


def starting_ledger(spec: TrainSpec, inputs: Inputs, sources: Mapping[str, Rows]) -> Ledger:
    """The ledger before a stage: the parent's ledger, and the tasks that a pretrained model knows.

    A stage that continues inside its parent's stage starts from the ledger at the parent's start, and so reads the same
    plan.
    """
    parent = result_of(inputs[STATE])
    name = "ledger_before" if spec.continues else "ledger"
    ledger = Ledger.from_json(parent[name]) if name in parent else Ledger()
    for task, tokens in spec.known.items():
        if task in sources and task not in ledger.accounts:
            seed = None if sources[task].ordered else spec.seed
            ledger = ledger.known(task, len(sources[task]), seed, tokens)
    return ledger


def starting_optimizer(spec: TrainSpec, inputs: Inputs) -> dict[str, Tensor] | None:
    """Tensors of the parent's optimizer. None: the stage starts with a fresh one."""
    return load_file(inputs[STATE] / "optimizer.safetensors") if spec.optimizer == "keep" else None


class Batches(Dataset[Batch]):
    """The batch of each optimizer step of a plan; with several processes, this process's part of each batch.

    Args:
        plan: plan of the stage.
        sources: training rows by data set.
        separator: token id that starts a document.
        replaced: rows in place of the plan's.
    """

    def __init__(
        self, plan: Plan, sources: Mapping[str, Rows], separator: int, replaced: Sequence[Replaced] = ()
    ) -> None:
        self.plan, self.sources, self.separator = plan, sources, separator
        self.replaced = {(each.step, each.slot): each.row for each in replaced}

    def __getitem__(self, step: int) -> Batch:
        rank, world = part = distributed.rank(), distributed.world()
        rows = (
            self.replaced.get((step, rank + place * world)) or self.sources[source][row]
            for place, (source, row) in enumerate(self.plan.batch(step, *part))
        )
        return collate(rows, self.separator, torch.from_numpy(self.plan.origin(step, *part)))

    def __len__(self) -> int:
        return self.plan.steps


def replaced_rows(
    spec: TrainSpec,
    methods: Sequence[Trains],
    plan: Plan,
    sources: Mapping[str, Rows],
    folders: Mapping[str, Path],
    separator: int,
) -> list[Replaced]:
    """Rows that a method trains on in place of the plan's.

    Args:
        spec: specification of the train node.
        methods: methods of the stage.
        plan: plan of the stage.
        sources: training rows by data set.
        folders: folders of the data sets by name.
        separator: token id that starts a document.
    """
    own = np.array([not reading.beside for reading in plan.readings])[plan.stream]

    def row(step: int, slot: int) -> Row:
        at = step * plan.batch_rows + slot
        return sources[plan.readings[plan.stream[at]].source][int(plan.row[at])]

    ahead = Ahead(spec.t, spec.seed, own.reshape(plan.steps, plan.batch_rows), row, folders, separator)
    return [each for method in methods if isinstance(method, EditsRows) for each in method.replaced_rows(ahead)]


def trained(
    ledger: Ledger, tasks: Sequence[str], sources: Mapping[str, Rows], size: int, separator: int
) -> Iterator[Batch]:
    """Yield batches of the rows that were trained on, each row once, in stored order.

    The first column of a batch's `origin` is the index of the task.

    Args:
        ledger: records the rows that were trained on.
        tasks: names of the tasks.
        sources: training rows by data set.
        size: rows per batch.
        separator: token id that starts a document.
    """
    for place, task in enumerate(tasks):
        for chosen in torch.from_numpy(ledger.accounts[task].trained_rows()).split(size):
            origin = torch.stack([torch.full_like(chosen, place), chosen], 1)
            yield collate((sources[task][row] for row in chosen.tolist()), separator, origin)
