"""The plan of a run: stages with their train nodes, rows of R, data and probes."""

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
    """The plan of a stage.

    Args:
        stage: the stage.
        node: its train node.
        parent: plan of the stage whose end state the stage starts from. None: the base model.
        before: forecast of the ledger before the stage.
        after: forecast of the ledger after the stage.
        gate: the node that decides whether its end state is promoted. None: it is taken as it is.
        promoted: the promote node with the state that the gate decided for.
    """

    stage: Stage
    node: Node
    parent: StagePlan | None
    before: Ledger
    after: Ledger
    gate: Node | None = None
    promoted: Node | None = None

    @property
    def state(self) -> Node:
        """The node whose state is evaluated, and from which the next stage starts."""
        return self.promoted or self.node


@dataclass(frozen=True)
class RunPlan:
    """The nodes of one scenario x strategy x model x seed x order.

    Args:
        strategy: the strategy.
        seed: seed of the run.
        order: names of the tasks.
        known: number of leading tasks that the model knows.
        stages: stages with their train nodes.
        rows: evaluate nodes of R by row.
        data: data nodes by set.
        probes: probe nodes by the probe's label and the row whose state they measure.
        inside: probe nodes of states inside a stage, by the probe's label, the row that the stage fills, and the step.
    """

    strategy: Strategy
    seed: int
    order: list[str]
    known: int
    stages: list[StagePlan]
    rows: dict[int, Node]
    data: dict[str, Node]
    probes: dict[str, dict[int, Node]] = field(default_factory=dict)
    inside: dict[str, dict[tuple[int, int], Node]] = field(default_factory=dict)

    @property
    def wanted(self) -> list[Node]:
        """The nodes whose results are reported: train nodes, gates, memories, rows of R, probes."""
        probed = [node for found in self.probes.values() for node in found.values()]
        probed += [node for found in self.inside.values() for node in found.values()]
        shown = [node for found in self.memory.values() for node in found.values()]
        return [*(stage.node for stage in self.stages), *self.gates.values(), *shown, *self.rows.values(), *probed]

    @property
    def gates(self) -> dict[int, Node]:
        """Gate nodes by stage."""
        return {plan.stage.t: plan.gate for plan in self.stages if plan.gate is not None}

    @property
    def memory(self) -> dict[int, dict[str, Node]]:
        """Retrieve and modulate nodes by row of R and set; rows without a memory have none."""
        parents = {t: row.parents.items() for t, row in self.rows.items()}
        found = {
            t: {str(r.name): n for r, n in pairs if n.kind in ("retrieve", "modulate")} for t, pairs in parents.items()
        }
        return {t: shown for t, shown in found.items() if shown}

    @property
    def merged(self) -> bool:
        """Whether rows of R evaluate merged models instead of trained states."""
        return any(row.parents[STATE].kind == "merge" for row in self.rows.values())

    @property
    def independent(self) -> bool:
        """Whether several stages start from the base model and no states are merged, so that R has no sequence."""
        return sum(plan.stage.parent is None for plan in self.stages) > 1 and not self.merged

    @cached_property
    def key(self) -> str:
        """Key of the run: the hash of the keys of its train nodes and rows of R."""
        return digest([[s.node.key for s in self.stages], {str(t): node.key for t, node in self.rows.items()}])
