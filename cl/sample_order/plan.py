"""Plan the nodes of `cl order`: `trace` trains another batch order, `grid` stores gradients, `order` answers a query.

A grid node has the reference runs' trace nodes as parents; an order node has the traces and the grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from cl.config.sample_order import SampleOrder
from cl.errors import UserError
from cl.graph.node import Node
from cl.graph.planner import Graph
from cl.graph.roles import GRID, Role, data
from cl.graph.run_plan import RunPlan, StagePlan
from cl.graph.specs import TrainSpec
from cl.methods.gates import Gates
from cl.methods.method import LEARN, Merges, Remembers
from cl.registry import unknown
from cl.sample_order import references
from cl.sample_order.specs import GridSpec, OrderSpec, StreamSpec, TraceSpec

Order = tuple[int, ...]
Query = Literal["estimate", "validate", "search", "position", "tasks"]


@dataclass(frozen=True)
class Ordering:
    """The stages of one run whose batches can be reordered.

    Args:
        graph: the planned experiment.
        run: the run.

    Raises:
        UserError: for a run whose stages are not a plain stream of tasks.
    """

    graph: Graph
    run: RunPlan

    def __post_init__(self) -> None:
        where = f"strategies.{self.run.strategy.label}"
        for part in self.run.strategy.parts:
            if isinstance(part.method, Remembers | Gates | Merges) or part.method.adapter == "per_task":
                raise UserError(
                    f"{where}: {part.name} keeps something between tasks; orders are estimated for plain training"
                )
        if not self.run.stages:
            raise UserError(f"{where}: trains nothing, so no batches can be reordered; leave it out")
        for before, plan in zip([None, *self.run.stages], self.run.stages, strict=False):
            plain = plan.stage.phase == LEARN and plan.parent is before and not plan.stage.continues
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
        """Settings of `cl order`."""
        return self.graph.experiment.order

    @cached_property
    def stages(self) -> list[StagePlan]:
        """The stages whose batches are reordered."""
        return [plan for plan in self.run.stages if plan.stage.t >= self.settings.first]

    @property
    def lengths(self) -> list[int]:
        """Number of batches of each stage."""
        return [spec.steps for spec in self._train_specs]

    @property
    def batches(self) -> int:
        """Number of batches of all stages."""
        return sum(self.lengths)

    @property
    def objective(self) -> list[str]:
        """The sets whose mean loss is estimated. Raises UserError for an unknown set."""
        chosen = self.settings.objective or list(
            dict.fromkeys(task for plan in self.stages for task in plan.stage.tasks)
        )
        if wrong := [name for name in chosen if name not in self.run.data]:
            raise UserError(unknown("order.objective: set", wrong[0], self.run.data))
        return chosen

    @cached_property
    def _train_specs(self) -> tuple[TrainSpec, ...]:
        """Specifications of the stages."""
        return tuple(plan.node.spec for plan in self.stages if isinstance(plan.node.spec, TrainSpec))

    @cached_property
    def _stream(self) -> dict[str, Any]:
        """Fields of `cl.sample_order.specs.StreamSpec`."""
        return {
            "stages": self._train_specs,
            "sets": tuple(self.objective),
            "tokens": self.settings.tokens,
            "batch": self.graph.experiment.evaluation.batch,
        }

    @cached_property
    def _parents(self) -> dict[Role, Node]:
        """Parents of every node: the first stage's model and tokenizer, and all data sets."""
        own = [plan.node.parents for plan in self.stages]
        if taught := [role for parents in own for role in parents if role.kind in ("memory", "teacher")]:
            raise UserError(f"order: {taught[0].kind} of a method acts in the stages; leave the method out")
        sets = {data(name): self.run.data[name] for name in self.objective}
        read = {role: node for parents in own for role, node in parents.items() if role.kind == "data"}
        return {role: node for role, node in own[0].items() if role.kind != "data"} | sets | read

    def _node(self, name: str, spec: StreamSpec, parents: dict[Role, Node], cost: float) -> Node:
        """A node with the common parents and the code of the stages' methods."""
        code = tuple(dict.fromkeys(entry for plan in self.stages for entry in plan.node.code))
        return Node(name, spec, self._parents | parents, code, round(cost), local=self.stages[0].node.local)

    @property
    def _tokens(self) -> int:
        """Estimated number of tokens of all batches."""
        return sum(plan.node.cost for plan in self.stages)

    def trace(self, order: Order, keep: Literal["all", "end"] = "end") -> Node:
        """Trace node of a real run.

        Args:
            order: order of the batches.
            keep: store the parameters at `all` points, or at both ends only.
        """
        name = f"{self.run.strategy.label} in the order {' '.join(map(str, order[:8]))}{' …' if len(order) > 8 else ''}"
        return self._node(name, TraceSpec(**self._stream, order=tuple(order), keep=keep), {}, self._tokens)

    @cached_property
    def references(self) -> list[Node]:
        """Trace nodes of the reference runs."""
        found = references.orders(self.batches, self.settings.references, self.settings.seed)
        return [self.trace(order, "all") for order in found]

    @property
    def _estimator(self) -> dict[str, Any]:
        """Further fields of `cl.sample_order.specs.EstimatorSpec`."""
        chosen = self.settings
        own = {name: getattr(chosen, name) for name in ("references", "stars", "stride", "part")}
        return self._stream | own

    @property
    def sets(self) -> float:
        """Cost of the gradients of all sets at one point, in units of a retraining."""
        return len(self.objective) * self.settings.tokens / max(1, self._tokens)

    @property
    def points(self) -> int:
        """Number of support points of the grid."""
        stars = self.batches if self.settings.stars else 0
        return 1 + self.settings.references * -(-self.batches // self.settings.stride) + stars

    @cached_property
    def grid(self) -> Node:
        """Grid node: the gradients of all batches at the support points of the reference runs."""
        parents = {Role("trace", place): node for place, node in enumerate(self.references)}
        name = f"gradients of {self.run.strategy.label} at {self.points} points"
        columns = (2 if self.settings.part else 1) + self.sets
        spec = GridSpec(**self._estimator, gigabytes=self.settings.gigabytes)
        return self._node(name, spec, parents, self._tokens * self.points * columns)

    def asked(self, what: Query, truths: Sequence[Node] = (), **query: Any) -> Node:
        """Order node of a query.

        Args:
            what: kind of query.
            truths: trace nodes of real runs with which estimates are compared.
            query: further fields of `cl.sample_order.specs.OrderSpec`.
        """
        chosen = self.settings
        spec = OrderSpec(
            **self._estimator,
            ask=what,
            oracle=chosen.oracle,
            readout=chosen.readout,
            ridge=chosen.ridge,
            seed=chosen.seed,
            objective=tuple(self.objective),
            truths=len(truths),
            **query,
        )
        parents = {Role("trace", place): node for place, node in enumerate(self.references)} | {GRID: self.grid}
        parents |= {Role("truth", place): node for place, node in enumerate(truths)}
        return self._node(f"{what} {self.run.strategy.label}", spec, parents, self._tokens)

    def held_out(self) -> list[Node]:
        """Trace nodes of real runs in random orders other than those of the references."""
        taken = [node.spec.order for node in self.references if isinstance(node.spec, TraceSpec)]
        drawn = references.drawn(self.batches, self.settings.held_out, self.settings.seed + 1, taken)
        return [self.trace(order) for order in drawn]

    def named(self, order: str | list[int]) -> Order:
        """An order by its name (given, reversed, random), or a list of batches as an order."""
        given = tuple(range(self.batches))
        if order in ("given", "reversed"):
            return given if order == "given" else given[::-1]
        if order == "random":
            return references.drawn(self.batches, 1, self.settings.seed + 2)[0]
        if isinstance(order, str):
            raise UserError(unknown("order.orders", order, ("given", "reversed", "random")))
        return tuple(order)


def build(graph: Graph) -> list[Ordering]:
    """One ordering for each run of the chosen strategy.

    Raises:
        UserError: for an unknown strategy, and if none of several strategies is chosen.
    """
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
