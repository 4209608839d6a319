"""Plan what `cl order` asks: trace nodes of a run's batches in some orders, their grid, and the order nodes on both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cl.config.sample_order import SampleOrder
from cl.errors import UserError
from cl.graph.node import Node
from cl.graph.planner import Graph
from cl.graph.run_plan import RunPlan, StagePlan
from cl.methods.method import Method
from cl.registry import unknown
from cl.sample_order import references

Order = tuple[int, ...]


@dataclass(frozen=True)
class Ordering:
    """The reorderable part of one run of an experiment. Raises UserError for a run whose stages are no plain stream."""

    graph: Graph
    run: RunPlan

    def __post_init__(self) -> None:
        where = f"strategies.{self.run.strategy.label}"
        for part in self.run.strategy.parts:
            if type(part.method).consolidates() or part.method.alone() or type(part.method).merge is not Method.merge:
                raise UserError(
                    f"{where}: {part.name} keeps something between tasks; orders are estimated for plain training"
                )
        for before, plan in zip([None, *self.run.stages], self.run.stages, strict=False):
            plain = plan.stage.phase == "learn" and plan.parent is before and not plan.stage.continues
            if not plain or plan.stage.t == 0:
                raise UserError(
                    f"{where}: forks, warm-ups and alignment are no plain stream of tasks, whose batches can move"
                )
        if not self.stages:
            raise UserError(
                f"order.first: {self.settings.first} is behind the last of {len(self.run.stages)} tasks; lower it"
            )

    @property
    def settings(self) -> SampleOrder:
        """What is asked."""
        return self.graph.experiment.order

    @cached_property
    def stages(self) -> list[StagePlan]:
        """The stages whose batches change places."""
        return [plan for plan in self.run.stages if plan.stage.t >= self.settings.first]

    @property
    def lengths(self) -> list[int]:
        """Batches of each stage."""
        return [int(plan.node.spec["steps"]) for plan in self.stages]

    @property
    def batches(self) -> int:
        """All of them."""
        return sum(self.lengths)

    @property
    def objective(self) -> list[str]:
        """The sets whose mean loss is estimated. Raises UserError for an unknown one."""
        chosen = self.settings.objective or list(
            dict.fromkeys(task for plan in self.stages for task in plan.stage.tasks)
        )
        if wrong := [name for name in chosen if name not in self.run.data]:
            raise UserError(unknown("order.objective: set", wrong[0], self.run.data))
        return chosen

    @cached_property
    def _spec(self) -> dict[str, Any]:
        return {
            "stages": [dict(plan.node.spec) for plan in self.stages],
            "sets": self.objective,
            "tokens": self.settings.tokens,
            "batch": self.graph.experiment.evaluation.batch,
        }

    @cached_property
    def _parents(self) -> dict[str, Node]:
        own = [plan.node.parents for plan in self.stages]
        refused = ("memory/", "teacher/")
        if taught := [role for parents in own for role in parents if role.startswith(refused)]:
            raise UserError(f"order: {taught[0].split('/')[0]} of a method acts in the stages; leave the method out")
        sets = {f"data/{name}": self.run.data[name] for name in self.objective}
        data = {role: node for parents in own for role, node in parents.items() if role.startswith("data/")}
        return {role: node for role, node in own[0].items() if not role.startswith("data/")} | sets | data

    def _node(self, kind: str, name: str, spec: dict[str, Any], parents: dict[str, Node], cost: float) -> Node:
        modules = tuple(dict.fromkeys(m for plan in self.stages for m in plan.node.extra_sources))
        local = self.stages[0].node.local
        return Node(kind, name, self._spec | spec, self._parents | parents, modules, round(cost), local=local)

    @property
    def _tokens(self) -> int:
        """Of all batches together, about."""
        return sum(plan.node.cost for plan in self.stages)

    def trace(self, order: Order, keep: str = "end") -> Node:
        """A real run in an order; keep: `all` points, or those at both ends."""
        name = f"{self.run.strategy.label} in the order {' '.join(map(str, order[:8]))}{' …' if len(order) > 8 else ''}"
        return self._node("trace", name, {"order": list(order), "keep": keep}, {}, self._tokens)

    @cached_property
    def references(self) -> list[Node]:
        """The reference runs."""
        found = references.orders(self.batches, self.settings.references, self.settings.seed)
        return [self.trace(order, "all") for order in found]

    @property
    def _estimator(self) -> dict[str, Any]:
        chosen = self.settings
        return {"references": chosen.references, "stars": chosen.stars, "stride": chosen.stride, "part": chosen.part}

    @property
    def sets(self) -> float:
        """What the gradients of all sets cost at one point, in retrainings."""
        return len(self.objective) * self.settings.tokens / max(1, self._tokens)

    @property
    def points(self) -> int:
        """Support points of the grid."""
        stars = self.batches if self.settings.stars else 0
        return 1 + self.settings.references * -(-self.batches // self.settings.stride) + stars

    @cached_property
    def grid(self) -> Node:
        """The gradients of all batches on the support points of the reference runs."""
        parents = {f"trace/{run}": node for run, node in enumerate(self.references)}
        name = f"gradients of {self.run.strategy.label} at {self.points} points"
        columns = (2 if self.settings.part else 1) + self.sets
        spec = self._estimator | {"gigabytes": self.settings.gigabytes}
        return self._node("grid", name, spec, parents, self._tokens * self.points * columns)

    def asked(self, what: str, question: dict[str, Any], truths: Sequence[Node] = ()) -> Node:
        """An order node: what the estimator is asked; truths: real runs that it is held against."""
        chosen = self.settings
        spec = self._estimator | {
            "ask": what,
            "oracle": chosen.oracle,
            "readout": chosen.readout,
            "ridge": chosen.ridge,
            "seed": chosen.seed,
            "objective": self.objective,
            **question,
        }
        parents = {f"trace/{run}": node for run, node in enumerate(self.references)} | {"grid": self.grid}
        parents |= {f"truth/{i}": node for i, node in enumerate(truths)}
        return self._node("order", f"{what} {self.run.strategy.label}", spec, parents, self._tokens)

    def held_out(self) -> list[Node]:
        """Real runs in random orders that no reference has."""
        taken = [tuple(node.spec["order"]) for node in self.references]
        drawn = references.drawn(self.batches, self.settings.held_out, self.settings.seed + 1, taken)
        return [self.trace(order) for order in drawn]

    def named(self, order: str | list[int]) -> Order:
        """An order by its name, or itself."""
        given = tuple(range(self.batches))
        if order in ("given", "reversed"):
            return given if order == "given" else given[::-1]
        if order == "random":
            return references.drawn(self.batches, 1, self.settings.seed + 2)[0]
        if isinstance(order, str):
            raise UserError(unknown("order.orders", order, ("given", "reversed", "random")))
        return tuple(order)


def build(graph: Graph) -> list[Ordering]:
    """The orderings of an experiment: one of each run of the chosen strategy. Raises UserError where none is named."""
    labels = list(graph.experiment.strategies)
    chosen = graph.experiment.order.strategy
    if chosen is None and len(labels) > 1:
        raise UserError(
            f"order.strategy: the experiment has {', '.join(labels)}; name the one whose batches change places"
        )
    if chosen is not None and chosen not in labels:
        raise UserError(unknown("order.strategy", chosen, labels))
    label = chosen or labels[0]
    return [Ordering(graph, run) for run in graph.runs if run.strategy.label == label]
