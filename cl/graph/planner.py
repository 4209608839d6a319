"""Plan an experiment as a graph of nodes. Reads only definitions and fingerprints.

The effect of a method on the stream (stages, shares, parents) is in the specification of the train nodes; only methods
that act inside training are named in it. So two strategies with the same effect on a stage share one train node.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from cl.config.experiment import Experiment, notes
from cl.config.loading import replaced
from cl.config.nested import flat
from cl.errors import UserError
from cl.graph import budget, task_overrides
from cl.graph.measurement_specs import EvaluateSpec
from cl.graph.model_checks import check_model
from cl.graph.node import Node, ancestors
from cl.graph.run_plan import RunPlan, StagePlan
from cl.graph.run_planner import RunPlanner
from cl.graph.shared_nodes import SharedNodes
from cl.graph.specs import Compute, TrainSpec
from cl.methods import strategy
from cl.methods.strategy import Strategy
from cl.tasks import scenario
from cl.tasks.scenario import Scenario

__all__ = ["Graph", "RunPlan", "StagePlan", "build"]


@dataclass(frozen=True)
class Graph:
    """All runs of an experiment with their nodes.

    Args:
        experiment: the experiment.
        scenario: its scenario.
        runs: plans of the runs.
        data: data node of each set, without transformations.
        base: base node of the first seed.
        part: the wanted nodes, where a part of the graph was chosen (`cl.graph.selection`). None: all that is reported.
    """

    experiment: Experiment
    scenario: Scenario
    runs: list[RunPlan]
    data: dict[str, Node]
    base: Node
    part: tuple[Node, ...] | None = None

    @cached_property
    def nodes(self) -> list[Node]:
        """All nodes, parents before children, each once."""
        return ancestors(self.wanted)

    @cached_property
    def wanted(self) -> list[Node]:
        """The nodes whose results are reported: base, data, train nodes, rows of R, probes; or the chosen part."""
        if self.part is not None:
            return list(self.part)
        found = [node for run in self.runs for node in run.wanted]
        return [self.base, *self.data.values(), *found]

    @property
    def resolved_settings(self) -> list[str]:
        """What `auto` was resolved to as command-line settings: device, precision, compile, attention."""
        compute = self.compute
        found = {
            "device": compute.device,
            "precision": compute.precision,
            "compile": str(compute.compile).lower(),
            "attention": compute.attention or "sdpa",
        }
        return [f"--train.{name}={value}" for name, value in found.items()]

    @property
    def compute(self) -> Compute:
        """Device, precision and compilation of the train nodes; of the rows of R if nothing is trained."""
        rows = [row.spec for run in self.runs for row in run.rows.values()]
        return next(spec.compute for spec in (*self.train_specs, *rows) if isinstance(spec, TrainSpec | EvaluateSpec))

    @cached_property
    def train_specs(self) -> list[TrainSpec]:
        """Specifications of all stages of all runs."""
        specs = [stage.node.spec for run in self.runs for stage in run.stages]
        return [spec for spec in specs if isinstance(spec, TrainSpec)]

    @property
    def asked(self) -> int:
        """Number of train nodes over all runs; nodes that runs share are counted for each run."""
        return sum(len(run.stages) for run in self.runs)

    @property
    def warnings(self) -> list[str]:
        """Sentences about degenerate settings, each once."""
        found = [text for run in self.runs for text in run.strategy.warnings]
        known = {task: None for spec in self.train_specs for task in spec.known}
        proxies = [f"replay of {task} reads a proxy of what the pretrained model saw" for task in known]
        return list(dict.fromkeys([*notes(self.experiment), *found, *proxies]))


def build(experiment: Experiment) -> Graph:
    """Plan all runs of an experiment.

    Raises:
        UserError: for settings that contradict each other or the scenario, or that have no effect.
    """
    defined = scenario.load(experiment.scenario)
    budget.check(experiment, defined)
    strategies = {label: _strategy(experiment, label) for label in experiment.strategies}
    check_model(experiment, strategies.values())
    alone = {key for own in experiment.by_task.values() for key in flat(own)}
    named = {*experiment.strategy, *(key.split(".")[1] for key in alone if key.startswith("strategy."))}
    if unused := named - {part.name for s in strategies.values() for part in s.parts}:
        raise UserError(f"strategy.{min(unused)}: no strategy of this experiment has that method; remove the setting")
    shared, runs = SharedNodes(experiment, defined), list[RunPlan]()
    for order in defined.ordered(experiment.orders, len(experiment.model.knows)):
        own = {label: _tuned(shared, chosen, order) for label, chosen in strategies.items()}
        single = {label: _single_tasks(*found) for label, found in own.items()}
        asked = [(label, seed) for seed in experiment.seeds for label in strategies]
        runs += [RunPlanner(*own[label], single[label], seed, order).plan() for label, seed in asked]
    _check_probe_steps(experiment, runs)
    return Graph(experiment, defined, runs, shared.data(), shared.base(experiment.seeds[0]))


def _check_probe_steps(experiment: Experiment, runs: Sequence[RunPlan]) -> None:
    """Raises UserError for steps of probes that are inside of no stage."""
    inside = {step for run in runs for found in run.inside.values() for _, step in found}
    if beyond := sorted(set(experiment.probe_steps) - inside):
        raise UserError(f"probe_steps: no stage goes on after step {beyond[0]}; give a smaller one, or more tokens")


def _single_tasks(shared: SharedNodes, chosen: Strategy) -> dict[str, tuple[SharedNodes, Strategy]]:
    """Nodes and strategy of each task with own settings (`by_task`)."""
    return {task: task_overrides.own(shared, chosen, task) for task in shared.experiment.by_task}


def _strategy(experiment: Experiment, label: str) -> Strategy:
    """The strategy that an experiment lists under a label."""
    return strategy.build(label, experiment.strategies[label], experiment.strategy)


def _tuned(shared: SharedNodes, chosen: Strategy, order: list[str]) -> tuple[SharedNodes, Strategy]:
    """Nodes and strategy with the values that `cl tune` chose for a strategy and an order."""
    experiment = shared.experiment
    values = experiment.tuned.of(chosen.label, " > ".join(order)) if experiment.tuned else {}
    if not values:
        return shared, chosen
    if "by_task" in values and experiment.by_task:
        raise UserError("by_task: was chosen by per_task as well, which would win; leave one of the two out")
    own = replaced(experiment, values)
    return shared.changed(own), _strategy(own, chosen.label)
