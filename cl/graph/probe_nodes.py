"""The probe nodes of a run: each probe of the experiment on the state of each row of R."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cl.errors import UserError
from cl.graph.code_version import entry_of
from cl.graph.node import Node
from cl.graph.roles import data
from cl.graph.shared_nodes import SharedNodes
from cl.graph.specs import EvaluateSpec, ProbeSpec
from cl.probes import probe


def probe_nodes(shared: SharedNodes, rows: Mapping[int, Node], order: Sequence[str]) -> dict[str, dict[int, Node]]:
    """The node of each probe by its label and by the row of R whose state it measures.

    A probe reads the tasks of the stream. Raises UserError for an unknown probe, and for one that can measure none of
    them.
    """
    experiment, found = shared.experiment, dict[str, dict[int, Node]]()
    for label, settings in experiment.probes.items():
        named, asked = probe.build(label, settings)
        tasks = [shared.scenario.tasks[name] for name in shared.scenario.tasks if name in order]
        sets = tuple(task.name for task in tasks if task.kind in asked.kinds)
        if not sets:
            kinds = " or ".join(asked.kinds)
            raise UserError(f"probes.{label}: has no effect: no task is of kind {kinds}; remove it")
        evaluation = experiment.evaluation
        spec = ProbeSpec(named, sets, evaluation.batch, shared.packing, shared.evaluation, split=evaluation.split)
        found[label] = {t: _node(label, spec, row, entry_of(type(asked))) for t, row in rows.items()}
    return found


def _node(label: str, spec: ProbeSpec, row: Node, entry: str) -> Node:
    """The probe of the state that a row of R evaluates, read as that row reads it."""
    assert isinstance(row.spec, EvaluateSpec)
    wanted = {data(name) for name in spec.sets}
    parents = {role: node for role, node in row.parents.items() if role.kind != "data" or role in wanted}
    return Node(f"{label} at {row.name}", replace(spec, select=row.spec.select), parents, (entry,), cost=row.cost)
