"""The plan of a run: its stages with their train nodes, its rows of R, and what is said of both."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from cl.data.mixture import Ledger
from cl.graph.node import Node
from cl.graph.roles import STATE
from cl.hashing import digest
from cl.methods.contexts import Stage
from cl.methods.strategy import Strategy


@dataclass(frozen=True)
class StagePlan:
    """A stage with its train node and the plan of its parent; `before` and `after` forecast what was consumed."""

    stage: Stage
    node: Node
    parent: StagePlan | None
    before: Ledger
    after: Ledger


@dataclass(frozen=True)
class RunPlan:
    """The nodes of one scenario x strategy x model x seed x order.

    Args:
        strategy: the strategy.
        seed: of the run.
        order: names of the tasks.
        known: leading tasks that the model has learned before.
        stages: stages with their train nodes.
        rows: evaluate nodes of R by row.
        data: data nodes by set.
        probes: probe nodes by the probe's label and the row whose state they measure.
    """

    strategy: Strategy
    seed: int
    order: list[str]
    known: int
    stages: list[StagePlan]
    rows: dict[int, Node]
    data: dict[str, Node]
    probes: dict[str, dict[int, Node]] = field(default_factory=dict)

    @property
    def wanted(self) -> list[Node]:
        """The nodes whose results the run is about."""
        probed = [node for rows in self.probes.values() for node in rows.values()]
        return [*(stage.node for stage in self.stages), *self.rows.values(), *probed]

    @property
    def merged(self) -> bool:
        """Whether rows of R are of merged models, which are not what was trained."""
        return any(row.parents[STATE].kind == "merge" for row in self.rows.values())

    @property
    def independent(self) -> bool:
        """Whether each task was learned from the base model and nothing merges them: rows do not follow one another."""
        return sum(plan.stage.parent is None for plan in self.stages) > 1 and not self.merged

    @cached_property
    def key(self) -> str:
        """Identity of the run: the keys of everything it reports."""
        return digest([[s.node.key for s in self.stages], {str(t): node.key for t, node in self.rows.items()}])
