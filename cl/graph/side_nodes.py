"""Plan the nodes that train nodes and rows of R need: memories, teachers, selections, merged models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from cl.errors import UserError
from cl.graph.code_version import entry_of
from cl.graph.cut_nodes import CutNodes
from cl.graph.measurement_specs import PromoteSpec
from cl.graph.node import Node
from cl.graph.roles import BASE, CANDIDATE, GATE, INCUMBENT, MEMORY, STATE, TOKENIZER, Role, data
from cl.graph.run_plan import StagePlan
from cl.graph.shared_nodes import SharedNodes
from cl.graph.specs import ConsolidateSpec, MergeSpec, SelectSpec, TeacherSpec
from cl.methods.contexts import Stage, Teaching
from cl.methods.method import LEARN, Merges, PlansStages, Remembers, Selects
from cl.methods.strategy import Part, Strategy


class SideNodes:
    """Plans memories, teachers, selections and merged models for one strategy with one seed.

    Args:
        shared: nodes and settings of the experiment.
        strategy: the strategy.
        own: per task with own settings, the nodes and the strategy with these settings.
        seed: seed of the run.

    Raises:
        UserError: if two methods add adapters.
    """

    def __init__(
        self,
        shared: SharedNodes,
        strategy: Strategy,
        own: Mapping[str, tuple[SharedNodes, Strategy]],
        seed: int,
    ) -> None:
        self.shared, self.strategy, self.own, self.seed = shared, strategy, own, seed
        self.base = shared.base(seed)
        self.sets = shared.data([part for part in strategy.parts if part.transforms])
        adapted = [part.name for part in strategy.parts if part.method.adapter is not None]
        if len(adapted) > 1:
            raise UserError(f"strategies.{strategy.label}: {' and '.join(adapted)} both add adapters; keep one")
        self.adapted = bool(adapted)
        self._data: dict[tuple[str, ...], dict[Role, Node]] = {}
        self._cuts = CutNodes(strategy)
        self._cuts.check(shared, list(shared.scenario.tasks))

    def of(self, stage: Stage) -> tuple[SharedNodes, Strategy]:
        """Nodes and strategy of a stage: with own settings if the stage learns a single task that has some."""
        task = next(iter(stage.tasks)) if len(stage.tasks) == 1 and stage.phase == LEARN else ""
        return self.own.get(task, (self.shared, self.strategy))

    def parents(self, state: Node, sets: Iterable[str]) -> dict[Role, Node]:
        """Parents of a node that opens a state and reads data sets."""
        common = {STATE: state, TOKENIZER: self.shared.tokenizer, **({BASE: self.base} if self.adapted else {})}
        names = tuple(sets)
        if names not in self._data:
            self._data[names] = {data(name): self.set(name) for name in names}
        return common | self._data[names]

    def set(self, name: str) -> Node:
        """The data node of a set, whether or not the set has a column in R."""
        return self.sets[name] if name in self.sets else self.shared.set(name)

    def cuts(self, stage: Stage, sets: Iterable[str]) -> dict[Role, Node]:
        """Cut nodes that replace the data nodes of text which a stage trains on, if a method cuts rows."""
        return self._cuts.of(self.of(stage)[0], {name: self.set(name) for name in sets})

    def memories(self, active: list[Part], stage: Stage, parent: StagePlan | None) -> dict[Role, Node]:
        """Consolidate node of each active method with a memory, by the method's index in `active`."""
        while parent is not None and stage.continues:  # a stage inside its parent's stage has the same memory
            stage, parent = parent.stage, parent.parent
        if parent is None or parent.stage.t == 0:  # a warm-up leaves no memory
            return {}
        remembering = ((place, part) for place, part in enumerate(active) if isinstance(part.method, Remembers))
        return {Role("memory", place): self._memory(part, parent) for place, part in remembering}

    def _memory(self, part: Part, plan: StagePlan) -> Node:
        """Consolidate node of a method after a stage, on top of the memory of earlier stages."""
        stage, strategy = plan.stage, self.of(plan.stage)[1]
        part = strategy.like(part, *(own for _, own in self.own.values()), self.strategy)
        assert isinstance(part.method, Remembers)
        active = strategy.active(stage)
        parents = self.parents(plan.node, stage.tasks) | self.cuts(stage, stage.tasks)
        before = plan.parent
        while before is not None and before.stage.t in (stage.t, 0):  # skip a fork's trunk and a warm-up
            before = before.parent
        if before is not None:
            parents[MEMORY] = self._memory(part, before)
        spec = ConsolidateSpec(
            stage.t,
            self.seed,
            tuple(sorted(stage.tasks)),
            part.of_settings(part.method.memory_settings),
            self.of(stage)[0].packing,
            self.shared.evaluation,
            str(active.index(part)) if part in active else None,
        )
        name = f"{part.name} after {stage.name}"
        node = Node(name, spec, parents, (entry_of(type(part.method)),), local=self.shared.local)
        return node if plan.gate is None else self._promoted(part, node, plan.gate)

    def _promoted(self, part: Part, node: Node, gate: Node) -> Node:
        """The memory that a gate decided for. Raises UserError if there is none before the stage."""
        if MEMORY not in node.parents:
            raise UserError(
                f"strategies.{self.strategy.label}: {part.name} remembers the first task, which may not be taken, and "
                "there is no memory before it; gate later tasks alone (tasks: later), or leave one of the two out"
            )
        return Node(
            f"{node.name} or before", PromoteSpec(), {GATE: gate, CANDIDATE: node, INCUMBENT: node.parents[MEMORY]}
        )

    def selections(self, active: list[Part], stage: Stage, parent: StagePlan | None) -> dict[Role, Node]:
        """Select nodes that replace data nodes, if a method of the stage selects rows.

        Rows are ranked by the state that was learned, not by a state of an earlier phase of alignment.
        """
        while parent is not None and parent.stage.phase != LEARN:
            parent = parent.parent
        state = self.base if parent is None else parent.state
        found: dict[Role, Node] = {}
        for part in active:
            if isinstance(part.method, Selects) and part.method.selection_size() is not None:
                (name,) = stage.tasks
                found[data(name)] = self._selection(part, state, name)
        return found

    def _selection(self, part: Part, state: Node, name: str) -> Node:
        """Select node of a method for one set."""
        assert isinstance(part.method, Selects)
        spec = SelectSpec(
            name,
            self.seed,
            part.of_settings(part.method.selection_settings),
            self.shared.packing,
            self.shared.evaluation,
            self.shared.experiment.model.system,
            self.shared.experiment.model.template,
        )
        code = (entry_of(type(part.method)),)
        return Node(f"{name} by {state.name}", spec, self.parents(state, [name]), code, local=self.shared.local)

    def teachers(
        self, active: list[Part], stage: Stage, parent: StagePlan | None, spans: Mapping[str, range | None]
    ) -> dict[Role, Node]:
        """Parents that teach in a stage: models, and teacher nodes with stored predictions.

        Args:
            active: methods that act inside the stage.
            stage: the stage.
            parent: plan of the previous stage.
            spans: per source, the positions of its reading order that the stage may read. None: all positions.
        """
        while parent is not None and stage.continues:
            stage, parent = parent.stage, parent.parent
        found: dict[Role, Node] = {}
        for place, part in enumerate(active):
            teaching = part.method.teaching(stage.t) if isinstance(part.method, PlansStages) else None
            if teaching is None or teaching.mode == "adapter_off":
                continue
            model = self.base if parent is None or teaching.of == "base" else parent.state
            if teaching.cached:
                caches = {name: self._predictions(teaching, model, name, span, stage) for name, span in spans.items()}
                found |= {Role("teacher", place, name): node for name, node in caches.items()}
            if teaching.mode in ("frozen_copy", "cache_hidden"):
                found[Role("teacher", place)] = model
        return found

    def _predictions(self, teaching: Teaching, model: Node, name: str, span: range | None, stage: Stage) -> Node:
        """Teacher node of a model on the rows of a set at some positions of its reading order."""
        sampled = teaching.mode in ("cache_sampled", "cache_top_k")
        # The parents name the model, so `of` is constant; count and temperature matter for sampled predictions only.
        decides = replace(teaching, of="base") if sampled else Teaching("base", teaching.mode)
        positions = None if span is None else (span.start, span.stop)
        packing = self.of(stage)[0].packing
        spec = TeacherSpec(name, self.seed, decides, packing, self.shared.evaluation, positions)
        cost = len(span or ()) * packing.sequence
        parents = self.parents(model, [name]) | self.cuts(stage, [name])
        if model is self.base:  # needs no base below it, so that strategies with and without adapters share the node
            parents.pop(BASE, None)
        return Node(f"{model.name} on {name}", spec, parents, cost=cost, local=self.shared.local)

    def evaluated(self, plan: StagePlan, plans: list[StagePlan]) -> Node:
        """The model of a stage's row of R: its end state, or the merge of all states up to the stage.

        Args:
            plan: plan of the stage.
            plans: plans of all stages so far.

        Raises:
            UserError: if two methods merge.
        """
        states = [p.state for p in plans[: plans.index(plan) + 1] if p.stage.row]
        parts = [p for p in self.strategy.parts if isinstance(p.method, Merges) and p.method.merges(len(states))]
        if len(parts) > 1:
            names = f"{parts[0].name} and {parts[1].name}"
            raise UserError(f"strategies.{self.strategy.label}: {names} both merge; keep one")
        if not parts:
            return plan.state
        (part,) = parts
        parents = {BASE: self.base} | {Role("state", place): state for place, state in enumerate(states, 1)}
        spec, code = MergeSpec(part.named(), len(states)), (entry_of(type(part.method)),)
        return Node(f"{part.name} up to {plan.stage.name}", spec, parents, code, local=self.shared.local)

    def adapters(self, plan: StagePlan | None) -> dict[str, str] | None:
        """Adapter of each task learned so far. None: adapters are not per task."""
        if not any(part.method.adapter == "per_task" for part in self.strategy.parts):
            return None
        found: dict[str, str] = {}
        while plan is not None:
            found = dict.fromkeys(plan.stage.tasks, f"t{plan.stage.t}") | found  # of a task learned twice, the newest
            plan = plan.parent
        return found
