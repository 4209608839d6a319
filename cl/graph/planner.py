"""From an experiment to its graph of nodes: pure planning, nothing is read but definitions and fingerprints.

What a method does to the stream (which stages, in which shares, from which parent) is worked out here and
stands in the specification of the train nodes; only methods that act inside training are named there. So two
strategies whose effect on a stage is the same ask for the same node, and it is trained once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from cl.config.experiment import Experiment, notes
from cl.config.loading import replaced
from cl.config.nested import flat
from cl.errors import UserError
from cl.graph import budget
from cl.graph.node import Node, ancestors
from cl.graph.run_plan import RunPlan, StagePlan
from cl.graph.run_planner import Chain
from cl.graph.shared_nodes import Ground
from cl.methods import strategy
from cl.methods.strategy import Strategy
from cl.tasks import scenario
from cl.tasks.scenario import Scenario

__all__ = ["Graph", "RunPlan", "StagePlan", "build"]


@dataclass(frozen=True)
class Graph:
    """All runs of an experiment and the nodes they stand on."""

    experiment: Experiment
    scenario: Scenario
    runs: list[RunPlan]
    data: dict[str, Node]
    base: Node

    @cached_property
    def nodes(self) -> list[Node]:
        """Every node once, parents before children."""
        return ancestors(node for run in self.runs for node in (*(s.node for s in run.stages), *run.rows.values()))

    @property
    def resolved(self) -> dict[str, str]:
        """What `auto` came to: device, precision, compile."""
        spec = self.runs[0].stages[0].node.spec
        return {name: str(spec[name]).lower() for name in ("device", "precision", "compile")}

    @property
    def asked(self) -> int:
        """Train nodes that all runs together ask for; how many there really are is for `nodes` to tell."""
        return sum(len(run.stages) for run in self.runs)

    @property
    def warnings(self) -> list[str]:
        """Sentences about degenerate settings, each once."""
        found = [text for run in self.runs for text in run.strategy.warnings]
        known = {task: None for run in self.runs for stage in run.stages for task in stage.node.spec["known"]}
        proxies = [f"replay of {task} reads a proxy of what the pretrained model saw" for task in known]
        return list(dict.fromkeys([*notes(self.experiment), *found, *proxies]))


def build(experiment: Experiment) -> Graph:
    """Plan all runs. Raises UserError for anything in the experiment that cannot be meant."""
    defined = scenario.load(experiment.scenario)
    budget.check(experiment, defined)
    strategies = {label: _strategy(experiment, label) for label in experiment.strategies}
    alone = {key for own in experiment.by_task.values() for key in flat(own)}
    named = {*experiment.strategy, *(key.split(".")[1] for key in alone if key.startswith("strategy."))}
    if unused := named - {part.name for s in strategies.values() for part in s.parts}:
        raise UserError(f"strategy.{min(unused)}: no strategy of this experiment has that method; remove the setting")
    ground, runs = Ground(experiment, defined), []
    for order in defined.ordered(experiment.orders, len(experiment.model.knows)):
        own = {label: _tuned(ground, chosen, order) for label, chosen in strategies.items()}
        runs += [Chain(*own[label], seed, order).plan() for seed in experiment.seeds for label in strategies]
    return Graph(experiment, defined, runs, ground.data(), ground.base(experiment.seeds[0]))


def _strategy(experiment: Experiment, label: str) -> Strategy:
    return strategy.build(label, experiment.strategies[label], experiment.strategy)


def _tuned(ground: Ground, chosen: Strategy, order: list[str]) -> tuple[Ground, Strategy]:
    """What a strategy stands on in an order, with the values that `cl tune` chose for both."""
    experiment = ground.experiment
    values = experiment.tuned.of(chosen.label, " > ".join(order)) if experiment.tuned else {}
    if not values:
        return ground, chosen
    if "by_task" in values and experiment.by_task:
        raise UserError("by_task: was chosen by per_task as well, which would win; leave one of the two out")
    own = replaced(experiment, values)
    return Ground(own, ground.scenario), _strategy(own, chosen.label)
