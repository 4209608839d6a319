"""The probe nodes of a run: each probe of the experiment on the state of each row of R."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cl.errors import UserError
from cl.graph.code_version import entry_of
from cl.graph.node import Node
from cl.graph.roles import Role, data
from cl.graph.shared_nodes import SharedNodes
from cl.graph.specs import EvaluateSpec, ProbeSpec
from cl.probes import probe


def probe_nodes(
    shared: SharedNodes, rows: Mapping[int, Node], sets: Mapping[str, Node], order: Sequence[str]
) -> dict[str, dict[int, Node]]:
    """Plan the probe nodes of a run. A probe reads the run's tasks, without what a memory shows beside the state.

    Args:
        shared: nodes and settings of the experiment.
        rows: evaluate nodes by row of R.
        sets: data nodes of the run by set.
        order: names of the run's tasks.

    Returns:
        Probe nodes by the probe's label and the row of R whose state the probe measures.

    Raises:
        UserError: for an unknown probe, and for a probe that can measure none of the tasks.
    """
    experiment, found = shared.experiment, dict[str, dict[int, Node]]()
    for label, settings in experiment.probes.items():
        named, asked = probe.build(label, settings)
        tasks = [shared.scenario.tasks[name] for name in shared.scenario.tasks if name in order]
        names = tuple(task.name for task in tasks if task.kind in asked.kinds)
        if not names:
            kinds = " or ".join(asked.kinds)
            raise UserError(f"probes.{label}: has no effect: no task is of kind {kinds}; remove it")
        evaluation = experiment.evaluation
        spec = ProbeSpec(named, names, evaluation.batch, shared.packing, shared.evaluation, split=evaluation.split)
        read = {data(name): sets[name] for name in names}
        found[label] = {t: _node(label, spec, row, read, entry_of(type(asked))) for t, row in rows.items()}
    return found


def _node(label: str, spec: ProbeSpec, row: Node, read: Mapping[Role, Node], entry: str) -> Node:
    """The probe node of the state that a row of R evaluates, with the same adapters per set."""
    assert isinstance(row.spec, EvaluateSpec)
    parents = {**{role: node for role, node in row.parents.items() if role.kind != "data"}, **read}
    return Node(
        f"{label} at {row.name}",
        replace(spec, select=row.spec.select),
        parents,
        (entry,),
        cost=row.cost,
        local=row.local,
    )
