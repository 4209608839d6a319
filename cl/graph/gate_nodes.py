"""Plan the gates of a run: after a gated stage, what compares its end state with the last promoted state.

    train ─▶ itemwise ─┐
                       ├▶ gate ─▶ promote ─▶ next stage, row of R
    last promoted ─▶ itemwise ─┘

The graph is planned before the decision is known, so a promote node holds the state that was decided for, and what
follows stands on it. What a plan cannot leave open is refused: see `check` and `check_reads`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from cl.data.sampling import Reading
from cl.errors import UserError
from cl.graph.code_version import entry_of
from cl.graph.measurement_specs import GateSpec, ItemwiseSpec, PromoteSpec
from cl.graph.node import Node
from cl.graph.roles import CANDIDATE, GATE, INCUMBENT, Role
from cl.graph.run_plan import StagePlan
from cl.graph.side_nodes import SideNodes
from cl.graph.specs import TrainSpec, row_length
from cl.methods.contexts import Stage
from cl.methods.gates import Gates
from cl.methods.method import LEARN, Merges, PlansStages, overrides
from cl.methods.strategy import Part
from cl.metrics.certificate import FEWEST
from cl.registry import members, unknown
from cl.tasks.task import ANSWERED

ANSWER_SCORES = "cl.tasks.answer_scores"


class GateNodes:
    """Plans the gates of one strategy with one seed.

    Args:
        side: nodes beside the train nodes.
        order: names of the run's tasks.
        stages: the stream.

    Raises:
        UserError: for a strategy or a stream that cannot be gated, and for settings that do not fit the scenario.
    """

    def __init__(self, side: SideNodes, order: Sequence[str], stages: Sequence[Stage]) -> None:
        self.side, self.shared, self.order, self.stages = side, side.shared, order, stages
        self.where = f"strategies.{side.strategy.label}"
        parts = [part for part in side.strategy.parts if isinstance(part.method, Gates)]
        if len(parts) > 1:
            raise UserError(f"{self.where}: {parts[0].name} and {parts[1].name} both gate; keep one")
        self.part: Part | None = parts[0] if parts else None
        if self.part is not None:
            self._check_stream(self.part)
            self._check_sets(self.part, self._method(self.part))

    @staticmethod
    def _method(part: Part) -> Gates:
        assert isinstance(part.method, Gates)
        return part.method

    def gates(self, stage: Stage) -> bool:
        """Whether a stage is gated."""
        return self.part is not None and self.part.acts(stage)

    def keeping(self, needed: set[int]) -> set[int]:
        """Stages whose optimizer's state is stored: those that a stage goes on from, and what may stand for them.

        Args:
            needed: indices of the stages that another stage continues with their optimizer's state.

        Raises:
            UserError: if the base model, which has no such state, may stand for one of them.
        """
        found = set(needed)
        for index in needed:
            while self.gates(self.stages[index]):
                before = self.stages[index].parent
                if before is None:
                    raise UserError(
                        f"{self.where}: {self._name} may roll the first task back to a model without an optimizer's "
                        "state, which the next task keeps; gate later tasks alone (tasks: later), or reset the state"
                    )
                found.add(index := before)
        return found

    def gated(self, plan: StagePlan) -> StagePlan:
        """A stage's plan with its gate, if it is gated."""
        if self.part is None or not self.gates(plan.stage):
            return plan
        before, name = self.side.base if plan.parent is None else plan.parent.state, plan.stage.name
        method, (task,) = self._method(self.part), plan.stage.tasks
        trained = tuple(next(iter(stage.tasks)) for stage in self.stages if stage.t < plan.stage.t)
        known = tuple(each for each in self.order[: plan.stage.t - 1] if each not in trained)
        spec = GateSpec(plan.stage.t, task, trained, (*known, *method.retain), self.part.named())
        sets = (task, *spec.earlier, *spec.retained)
        parents = {CANDIDATE: plan.node, INCUMBENT: before} | {
            Role(role.kind, name="items"): self._items(state, sets, method.metric)
            for role, state in ((CANDIDATE, plan.node), (INCUMBENT, before))
        }
        gate = Node(f"{self._name} of {name}", spec, parents, (entry_of(type(method)),))
        parents = {GATE: gate, CANDIDATE: plan.node, INCUMBENT: before}
        promoted = Node(f"{name} or before", PromoteSpec(), parents, needs=plan.node.needs)
        return replace(plan, gate=gate, promoted=promoted)

    def _items(self, state: Node, sets: tuple[str, ...], metric: str) -> Node:
        """Itemwise node of a state."""
        evaluation, asks = self.shared.experiment.evaluation, metric != "loss"
        spec = ItemwiseSpec(
            sets, metric, evaluation.tokens, evaluation.items if asks else 0, evaluation.batch, self.shared.packing,
            self.shared.evaluation, **(evaluation.answering if asks else {}),
        )  # fmt: skip
        code = (f"{ANSWER_SCORES}.{metric}:score",) if asks else ()
        cost = evaluation.tokens * len(sets)
        parents = self.side.parents(state, sets)
        return Node(f"{state.name} by item", spec, parents, code, cost=cost, local=self.shared.local)

    @property
    def _name(self) -> str:
        return "" if self.part is None else self.part.name

    def _check_stream(self, part: Part) -> None:
        """Raises UserError for a strategy whose rows of R are not the states that the next tasks start from."""
        parts = self.side.strategy.parts
        plain = all(
            stage.phase == LEARN and stage.parent == (index - 1 if index else None) and len(stage.tasks) == 1
            and stage.row == stage.t and not stage.continues and (stage.start, stage.stop) == (0.0, 1.0)
            for index, stage in enumerate(self.stages)
        )  # fmt: skip
        if not plain:
            changed = [
                p.name for p in parts if isinstance(p.method, PlansStages) and overrides(p.method, PlansStages.stages)
            ]
            raise UserError(
                f"{self.where}: {part.name} needs one stage for each task, which starts from the one before; leave "
                f"{' and '.join(changed)} or {part.name} out"
            )
        for other in parts:
            if isinstance(other.method, Merges):
                raise UserError(
                    f"{self.where}: {part.name} decides about the trained state and {other.name} evaluates another; "
                    "keep one"
                )
            if other.method.adapter == "per_task":
                raise UserError(
                    f"{self.where}: {other.name} answers each task with an adapter of its own, which no later task can "
                    f"harm; leave {part.name} out"
                )

    def _check_sets(self, part: Part, method: Gates) -> None:
        """Raises UserError for sets that cannot be retained, a metric that a set does not have, and too few items."""
        scenario, where = self.shared.scenario, f"{self.where}: {part.name}"
        for name in method.retain:
            if name not in scenario.measured:
                raise UserError(unknown(f"{where}: retain: retain or general set", name, scenario.measured))
        evaluation = self.shared.experiment.evaluation
        if method.metric == "loss":
            text = [name for name in (*self.order, *method.retain) if scenario.task(name).kind == "text"]
            rows = min((evaluation.tokens // row_length(self.shared.packing, name) for name in text), default=FEWEST)
            if rows < FEWEST:
                raise UserError(
                    f"{where}: evaluation.tokens: {evaluation.tokens} are {rows} rows of a set and an interval needs "
                    f"{FEWEST}; raise it, or lower train.sequence"
                )
            return
        if method.metric not in (known := members(ANSWER_SCORES)):
            raise UserError(unknown(f"{where}: metric", method.metric, ("loss", *known)))
        if evaluation.items < FEWEST:
            raise UserError(
                f"{where}: evaluation.items: {evaluation.items} answers are too few for an interval of "
                f"{method.metric}; give {FEWEST} or more, or use metric: loss"
            )
        for name in (*self.order, *method.retain):
            if scenario.task(name).kind not in ANSWERED:
                raise UserError(f"{where}: metric: {name} has no answers and so no {method.metric}; use loss")

    def check_reads(self, plan: StagePlan) -> None:
        """Refuse a stage whose rows depend on what an earlier gated stage consumed, as far as the plan fixes them.

        Replay would read a task that may not be taken. Stored predictions of a teacher cover positions of a reading
        order that is not known.

        Raises:
            UserError: for such a stage.
        """
        assert isinstance(plan.node.spec, TrainSpec)
        consumed, before = set[str](), plan.parent
        while before is not None:
            if before.gate is not None and isinstance(before.node.spec, TrainSpec):
                consumed |= {Reading.parse(key).source for key in before.node.spec.shares}
            before = before.parent
        taught = {role.name for role in plan.node.parents if role.kind == "teacher"}
        for reading in map(Reading.parse, plan.node.spec.shares):
            if reading.source in consumed and (reading.replay or reading.source in taught):
                what = "replays" if reading.replay else "has stored predictions on"
                raise UserError(
                    f"{self.where}: stage {plan.stage.t} {what} {reading.source}, and {self._name} may not have taken "
                    "the stage that learned it; leave one of the two out"
                )
