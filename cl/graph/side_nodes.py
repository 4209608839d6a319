"""Nodes that a run needs for its train nodes and rows: memories, teachers, selections, merged models."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from cl.errors import UserError
from cl.graph.code_version import entry_of
from cl.graph.node import Node
from cl.graph.roles import BASE, MEMORY, STATE, TOKENIZER, Role, data
from cl.graph.run_plan import StagePlan
from cl.graph.shared_nodes import SharedNodes
from cl.graph.specs import ConsolidateSpec, MergeSpec, SelectSpec, TeacherSpec
from cl.methods.contexts import Stage, Teaching
from cl.methods.method import LEARN, Merges, PlansStages, Remembers, Selects
from cl.methods.strategy import Part, Strategy


class SideNodes:
    """Plans the nodes beside the train nodes, for one strategy with one seed.

    Args:
        shared: nodes and settings of the experiment.
        strategy: the strategy.
        own: per task with settings of its own, the nodes and the strategy with these settings.
        seed: of the run.
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

    def of(self, stage: Stage) -> tuple[SharedNodes, Strategy]:
        """Settings of a stage: the experiment's, or the own ones of the single task that the stage learns."""
        task = next(iter(stage.tasks)) if len(stage.tasks) == 1 and stage.phase == LEARN else ""
        return self.own.get(task, (self.shared, self.strategy))

    def parents(self, state: Node, sets: Iterable[str]) -> dict[Role, Node]:
        """Parents of a node that opens a state and reads some sets."""
        common = {STATE: state, TOKENIZER: self.shared.tokenizer, **({BASE: self.base} if self.adapted else {})}
        names = tuple(sets)
        if names not in self._data:
            self._data[names] = {data(name): self.set(name) for name in names}
        return common | self._data[names]

    def set(self, name: str) -> Node:
        """The data node of a set, measured or not."""
        return self.sets[name] if name in self.sets else self.shared.set(name)

    def memories(self, active: list[Part], stage: Stage, parent: StagePlan | None) -> dict[Role, Node]:
        """The consolidate node of each active method that remembers earlier stages, by its place in `active`."""
        while parent is not None and stage.continues:  # inside its parent's stage: the same memory
            stage, parent = parent.stage, parent.parent
        if parent is None or parent.stage.t == 0:  # nothing is remembered of a warm-up
            return {}
        remembering = ((place, part) for place, part in enumerate(active) if isinstance(part.method, Remembers))
        return {Role("memory", place): self._memory(part, parent) for place, part in remembering}

    def _memory(self, part: Part, plan: StagePlan) -> Node:
        """The memory of a method after a stage and those before it."""
        stage, strategy = plan.stage, self.of(plan.stage)[1]
        part = strategy.like(part, *(own for _, own in self.own.values()), self.strategy)
        assert isinstance(part.method, Remembers)
        active = strategy.active(stage)
        parents = self.parents(plan.node, stage.tasks)
        before = plan.parent
        while before is not None and before.stage.t in (stage.t, 0):  # a fork's trunk, a warm-up before the stream
            before = before.parent
        if before is not None:
            parents[MEMORY] = self._memory(part, before)
        spec = ConsolidateSpec(
            stage.t,
            self.seed,
            tuple(sorted(stage.tasks)),
            part.of_settings(part.method.memory_settings),
            self.shared.packing,
            self.shared.evaluation,
            str(active.index(part)) if part in active else None,
        )
        name = f"{part.name} after {stage.name}"
        return Node(name, spec, parents, (entry_of(type(part.method)),), local=self.shared.local)

    def selections(self, active: list[Part], stage: Stage, parent: StagePlan | None) -> dict[Role, Node]:
        """Selected rows in place of all rows of a set, where a method of the stage selects.

        The state that was learned ranks the rows, not the state that an earlier phase of alignment made of it.
        """
        while parent is not None and parent.stage.phase != LEARN:
            parent = parent.parent
        state = self.base if parent is None else parent.node
        found: dict[Role, Node] = {}
        for part in active:
            if isinstance(part.method, Selects) and part.method.selection_size() is not None:
                (name,) = stage.tasks
                found[data(name)] = self._selection(part, state, name)
        return found

    def _selection(self, part: Part, state: Node, name: str) -> Node:
        """The rows of a set that a method selects."""
        assert isinstance(part.method, Selects)
        spec = SelectSpec(
            name,
            self.seed,
            part.of_settings(part.method.selection_settings),
            self.shared.packing,
            self.shared.evaluation,
            self.shared.experiment.model.system,
        )
        code = (entry_of(type(part.method)),)
        return Node(f"{name} by {state.name}", spec, self.parents(state, [name]), code, local=self.shared.local)

    def teachers(
        self, active: list[Part], stage: Stage, parent: StagePlan | None, spans: Mapping[str, range | None]
    ) -> dict[Role, Node]:
        """Teachers of a stage: the model itself, or its stored predictions.

        Args:
            active: methods that act inside the stage.
            stage: the stage.
            parent: the stage before.
            spans: per source, the places of its reading order that the stage may read. None: all.
        """
        while parent is not None and stage.continues:
            stage, parent = parent.stage, parent.parent
        found: dict[Role, Node] = {}
        for place, part in enumerate(active):
            teaching = part.method.teaching(stage.t) if isinstance(part.method, PlansStages) else None
            if teaching is None or teaching.mode == "adapter_off":
                continue
            model = self.base if parent is None or teaching.of == "base" else parent.node
            if teaching.cached:
                caches = {name: self._predictions(teaching, model, name, span) for name, span in spans.items()}
                found |= {Role("teacher", place, name): node for name, node in caches.items()}
            if teaching.mode in ("frozen_copy", "cache_hidden"):
                found[Role("teacher", place)] = model
        return found

    def _predictions(self, teaching: Teaching, model: Node, name: str, span: range | None) -> Node:
        """A model's predictions on the rows of a set at some places of its reading order."""
        sampled = teaching.mode in ("cache_sampled", "cache_top_k")  # which model it is stands in the parents
        decides = replace(teaching, of="base") if sampled else Teaching("base", teaching.mode)
        positions = None if span is None else (span.start, span.stop)
        spec = TeacherSpec(name, self.seed, decides, self.shared.packing, self.shared.evaluation, positions)
        cost = len(span or ()) * self.shared.packing.sequence
        parents = self.parents(model, [name])
        if model is self.base:  # itself what a state of adapters would stand on: strategies without any share the node
            parents.pop(BASE, None)
        return Node(f"{model.name} on {name}", spec, parents, cost=cost)

    def evaluated(self, plan: StagePlan, plans: list[StagePlan]) -> Node:
        """The model of a stage's row of R: its end state, or the merge of all states up to it.

        Raises UserError where two methods merge.
        """
        states = [p.node for p in plans[: plans.index(plan) + 1] if p.stage.row]
        parts = [p for p in self.strategy.parts if isinstance(p.method, Merges) and p.method.merges(len(states))]
        if len(parts) > 1:
            names = f"{parts[0].name} and {parts[1].name}"
            raise UserError(f"strategies.{self.strategy.label}: {names} both merge; keep one")
        if not parts:
            return plan.node
        (part,) = parts
        parents = {BASE: self.base} | {Role("state", place): state for place, state in enumerate(states, 1)}
        spec, code = MergeSpec(part.named(), len(states)), (entry_of(type(part.method)),)
        return Node(f"{part.name} up to {plan.stage.name}", spec, parents, code, local=self.shared.local)

    def adapters(self, plan: StagePlan | None) -> dict[str, str] | None:
        """The adapter that each task learned so far is answered with, where adapters are per task; else None."""
        if not any(part.method.adapter == "per_task" for part in self.strategy.parts):
            return None
        found: dict[str, str] = {}
        while plan is not None:
            found = dict.fromkeys(plan.stage.tasks, f"t{plan.stage.t}") | found  # learned twice: the newer one
            plan = plan.parent
        return found
