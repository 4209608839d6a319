"""The probe nodes of a run: each probe of the experiment on the state of each row of R."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from cl.errors import UserError
from cl.graph.code_version import entry_of
from cl.graph.node import Node
from cl.graph.roles import BASE, STATE, Role, data
from cl.graph.run_plan import StagePlan
from cl.graph.shared_nodes import SharedNodes
from cl.graph.specs import EvaluateSpec, ProbeSpec
from cl.probes import probe


def probe_nodes(shared: SharedNodes, rows: Mapping[int, Node], order: Sequence[str]) -> dict[str, dict[int, Node]]:
    """Plan the probe nodes of a run. A probe reads the run's tasks, and sets outside of the stream if it declares so.

    Args:
        shared: nodes and settings of the experiment.
        rows: evaluate nodes by row of R.
        order: names of the run's tasks.

    Returns:
        Probe nodes by the probe's label and the row of R whose state the probe measures.

    Raises:
        UserError: for an unknown probe, and for a probe that can measure none of the tasks or refuses them.
    """
    experiment, found = shared.experiment, dict[str, dict[int, Node]]()
    for label, settings in experiment.probes.items():
        named, asked = probe.build(label, settings)
        names = [name for name in shared.scenario.tasks if name in order]
        if asked.reads_outside and experiment.evaluation.split == "test":
            names += shared.scenario.measured
        sets = tuple(name for name in names if shared.scenario.task(name).kind in asked.kinds)
        if not sets:
            kinds = " or ".join(asked.kinds)
            raise UserError(f"probes.{label}: has no effect: no task is of kind {kinds}; remove it")
        asked.check(sets, experiment.model)
        evaluation = experiment.evaluation
        spec = ProbeSpec(named, sets, evaluation.batch, shared.packing, shared.evaluation, split=evaluation.split)
        more: dict[Role, Node] = {BASE: rows[min(rows)].parents[STATE]} if asked.needs_base else {}
        found[label] = {t: _node(label, spec, row, more, entry_of(type(asked))) for t, row in rows.items()}
    return found


def inside_nodes(
    probes: Mapping[str, Mapping[int, Node]], stages: Sequence[StagePlan]
) -> dict[str, dict[tuple[int, int], Node]]:
    """Plan the probe nodes of states inside the stages that fill a row of R.

    Args:
        probes: probe nodes of the rows, by label and row.
        stages: plans of the stages, whose nodes store the states.

    Returns:
        Probe nodes by label, row and step.
    """
    found: dict[str, dict[tuple[int, int], Node]] = {label: {} for label in probes}
    for label, rows in probes.items():
        for plan in stages:
            for step in plan.node.local.snapshots if plan.node.local is not None else ():
                row = rows[plan.stage.row or -1]
                assert isinstance(row.spec, ProbeSpec)
                name = f"{label} at step {step} of {plan.stage.name}"
                parents = {**row.parents, STATE: plan.node}  # a gate may have put another state into the row
                spec = replace(row.spec, step=step)
                found[label][plan.stage.row or -1, step] = replace(row, name=name, spec=spec, parents=parents)
    return found


def _node(label: str, spec: ProbeSpec, row: Node, more: dict[Role, Node], entry: str) -> Node:
    """The probe node of the state that a row of R evaluates, with the same adapters per set."""
    assert isinstance(row.spec, EvaluateSpec)
    wanted = {data(name) for name in spec.sets}
    parents = {role: node for role, node in row.parents.items() if role.kind != "data" or role in wanted} | more
    return Node(
        f"{label} at {row.name}",
        replace(spec, select=row.spec.select),
        parents,
        (entry,),
        cost=row.cost,
        local=row.local,
    )
