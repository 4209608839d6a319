"""The probe nodes of a run: each probe of the experiment on the state of each row of R, and inside the stages."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from cl.config.experiment import Experiment
from cl.data.sampling import Reading
from cl.errors import UserError
from cl.graph.code_version import entry_of
from cl.graph.measurement_specs import EvaluateSpec, ProbeSpec
from cl.graph.node import Node
from cl.graph.roles import BASE, STATE, Role, data, manifest, reference
from cl.graph.run_plan import StagePlan
from cl.graph.shared_nodes import SharedNodes
from cl.graph.specs import TrainSpec
from cl.methods.contexts import Stage
from cl.methods.gates import Gates
from cl.methods.method import Merges
from cl.methods.strategy import Strategy
from cl.probes import probe
from cl.probes.probe import Beside, History, Probe, Stretch
from cl.tasks.scenario import Scenario


def probe_nodes(
    shared: SharedNodes,
    rows: Mapping[int, Node],
    sets: Callable[[str], Node],
    order: Sequence[str],
    strategies: Sequence[Strategy],
    histories: Mapping[int, History],
    edited: Mapping[int, Node],
) -> dict[str, dict[int, Node]]:
    """Plan the probe nodes of a run. A probe reads the run's tasks, and sets outside of the stream if it declares so.

    Args:
        shared: nodes and settings of the experiment.
        rows: evaluate nodes by row of R.
        sets: the data node of a set, without what a memory shows before its questions.
        order: names of the run's tasks.
        strategies: the run's strategy, and that of each task with own settings.
        histories: how the state of each row came about.
        edited: train node of each stage whose rows a method edits.

    Returns:
        Probe nodes by the probe's label and the row of R whose state the probe measures.

    Raises:
        UserError: for an unknown probe, and for a probe that can measure none of the tasks or not this strategy.
    """
    found = dict[str, dict[int, Node]]()
    for label, settings in shared.experiment.probes.items():
        named, asked = probe.build(label, settings)
        names, evaluation = _names(shared, label, asked, order), shared.experiment.evaluation
        for strategy in strategies:
            _check(shared, label, asked, strategy, names, rows)
        spec = ProbeSpec(named, names, evaluation.batch, shared.packing, shared.evaluation, split=evaluation.split)
        more = {data(name): sets(name) for name in names}
        more |= {BASE: rows[min(rows)].parents[STATE]} if asked.needs_base else {}
        more |= {manifest(t): edited[t] for t in asked.manifests() if t in edited}
        before = {t: rows[t].parents[STATE] for t in asked.references()}
        found[label] = {}
        for t, row in rows.items():
            own = replace(spec, history=histories[t]) if asked.reads_history else spec
            further = more | {reference(earlier): state for earlier, state in before.items() if earlier <= t}
            found[label][t] = _node(label, own, row, further, entry_of(type(asked)))
    return found


def _names(shared: SharedNodes, label: str, asked: Probe, order: Sequence[str]) -> tuple[str, ...]:
    """Names of the sets that a probe reads. Raises UserError if there is none."""
    scenario = shared.scenario
    names = [name for name in scenario.tasks if name in order]
    if asked.reads_outside and shared.experiment.evaluation.split == "test":
        names += scenario.measured
    if asked.reads_general:
        names += [name for name in scenario.general if name not in names]
    found = tuple(name for name in names if scenario.task(name).kind in asked.kinds)
    if not found:
        kinds = " or ".join(asked.kinds)
        raise UserError(f"probes.{label}: has no effect: no task is of kind {kinds}; remove it")
    return found


def _check(
    shared: SharedNodes, label: str, asked: Probe, strategy: Strategy, sets: Sequence[str], rows: Mapping[int, Node]
) -> None:
    """Raises UserError if a probe cannot measure what a strategy does, or a row that it compares with is absent."""
    where = f"probes.{label}: strategies.{strategy.label}"
    if lacking := [t for t in asked.references() if t not in rows]:
        raise UserError(f"{where}: has no row {lacking[0]}, with which the probe compares; remove one of the two")
    if asked.reads_history and any(isinstance(part.method, Gates) for part in strategy.parts):
        raise UserError(f"{where}: a gate decides which stages led to a state; remove one of the two")
    apart = any(part.method.adapter == "per_task" for part in strategy.parts)
    try:
        asked.check(Beside(sets, shared.experiment.model, [part.named() for part in strategy.parts], apart))
    except UserError as error:
        raise UserError(f"{where}: {error}") from error


def inside_nodes(
    probes: Mapping[str, Mapping[int, Node]], stages: Sequence[StagePlan]
) -> dict[str, dict[tuple[int, int], Node]]:
    """Plan the probe nodes of states inside the stages that fill a row of R.

    Args:
        probes: probe nodes of the rows, by label and row.
        stages: plans of the stages, whose nodes store the states.

    Returns:
        Probe nodes by label, row and step.

    Raises:
        UserError: for a probe that depends on whole stages.
    """
    found: dict[str, dict[tuple[int, int], Node]] = {label: {} for label in probes}
    for label, rows in probes.items():
        for plan in stages:
            for step in plan.node.local.snapshots if plan.node.local is not None else ():
                row = rows[plan.stage.row or -1]
                assert isinstance(row.spec, ProbeSpec)
                if row.spec.history is not None:
                    raise UserError(f"probe_steps: probes.{label} measures the ends of stages alone; leave one out")
                parents = {**row.parents, STATE: plan.node}  # a gate may have put another state into the row
                name, spec = f"{label} at step {step} of {plan.stage.name}", replace(row.spec, step=step)
                found[label][plan.stage.row or -1, step] = replace(row, name=name, spec=spec, parents=parents)
    return found


def history(plan: StagePlan | None, seed: int, scenario: Scenario) -> History:
    """How the state after a stage came about.

    Args:
        plan: plan of the stage. None: no stage, the state is the base model.
        seed: seed of the run.
        scenario: the scenario.
    """
    found: list[Stretch] = []
    while plan is not None:
        spec = plan.node.spec
        assert isinstance(spec, TrainSpec)
        steps = spec.last - spec.first
        sources = [Reading.parse(key).source for key in spec.shares]
        packed = all(":" in name or scenario.task(name).kind == "text" for name in sources)  # views are text
        tokens = steps * spec.train.batch * spec.train.sequence if packed else None
        found.insert(0, Stretch(spec.t, steps, tokens))
        plan = plan.parent
    return History(seed, tuple(found))


def kept_steps(experiment: Experiment, strategy: Strategy, stage: Stage, inside: range) -> tuple[int, ...]:
    """Steps of a stage whose states are kept for probes. Raises UserError where rows are not of the stages' states.

    Args:
        experiment: the experiment.
        strategy: the strategy.
        stage: the stage.
        inside: steps between the first and the last of the node.
    """
    if not experiment.probe_steps or not stage.row:
        return ()
    if experiment.train.processes > 1:
        raise UserError("probe_steps: a stage keeps states inside it on one device only; set train.devices to 1")
    if any(isinstance(part.method, Merges) for part in strategy.parts):
        what = f"{strategy.label} measures merged models, not states of a stage"
        raise UserError(f"probe_steps: {what}; leave one of them out")
    return tuple(step for step in experiment.probe_steps if step in inside)


def _node(label: str, spec: ProbeSpec, row: Node, further: Mapping[Role, Node], entry: str) -> Node:
    """The probe node of the state that a row of R evaluates, with the same adapters per set."""
    assert isinstance(row.spec, EvaluateSpec)
    parents = {role: node for role, node in row.parents.items() if role.kind != "data"}
    return Node(
        f"{label} at {row.name}",
        replace(spec, select=row.spec.select),
        {**parents, **further},
        (entry,),
        cost=row.cost,
        local=row.local,
    )
