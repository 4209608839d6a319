"""The nodes that stand beside a run's train nodes: memories, teachers, choices of examples, merged models."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping

from cl.errors import UserError
from cl.graph import task_overrides
from cl.graph.node import Node
from cl.graph.run_plan import StagePlan
from cl.graph.shared_nodes import Ground
from cl.methods.contexts import Stage, Teaching
from cl.methods.strategy import Part, Strategy
from cl.registry import unknown

ALIGNED = {"sft": "instruction", "dpo": "preference"}
"""Kind of the general sets that a phase of alignment learns from."""


class Sides:
    """Plans them for one strategy with one seed in one order of tasks."""

    def __init__(self, ground: Ground, chosen: Strategy, seed: int, order: list[str]) -> None:
        self.ground, self.chosen, self.seed, self.order = ground, chosen, seed, order[: ground.experiment.upto]
        self.own = {task: task_overrides.own(ground, chosen, task) for task in ground.experiment.by_task}
        self.base = ground.base(seed)
        self.data = ground.data([part for part in chosen.parts if part.transforms])

    def _of(self, stage: Stage) -> tuple[Ground, Strategy]:
        """What a stage stands on: the experiment's settings, or those of the one task that it learns."""
        task = next(iter(stage.tasks)) if len(stage.tasks) == 1 and stage.phase == "learn" else ""
        return self.own.get(task, (self.ground, self.chosen))

    def _parents(self, state: Node, sets: Iterable[str]) -> dict[str, Node]:
        adapted = [part.name for part in self.chosen.parts if part.method.stands_on_base()]
        if len(adapted) > 1:
            raise UserError(f"strategies.{self.chosen.label}: {' and '.join(adapted)} both add adapters; keep one")
        common = {"state": state, "tokenizer": self.ground.tokenizer, **({"base": self.base} if adapted else {})}
        return common | {f"data/{name}": self._set(name) for name in sets}

    def _set(self, name: str) -> Node:
        """The data node of a set, measured or not."""
        return self.data[name] if name in self.data else self.ground.set(name)

    def _memories(self, active: list[Part], stage: Stage, parent: StagePlan | None) -> dict[str, Node]:
        """The consolidate node of each active method that remembers the stages before this one, by its place."""
        while parent is not None and stage.continues:  # inside its parent's stage: what that one remembered
            stage, parent = parent.stage, parent.parent
        if parent is None or parent.stage.t == 0:  # nothing is remembered of a warm-up
            return {}
        return {
            f"memory/{place}": self._memory(part, parent)
            for place, part in enumerate(active)
            if part.method.consolidates()
        }

    def _memory(self, part: Part, plan: StagePlan) -> Node:
        """What a method remembers of a stage and of those before it."""
        stage, chosen = plan.stage, self._of(plan.stage)[1]
        part = chosen.like(part, *(own for _, own in self.own.values()), self.chosen)
        active = [p.method for p in chosen.active(stage)]
        same = [method for method in active if type(method) is type(part.method)]
        parents = self._parents(plan.node, stage.tasks)
        before = plan.parent
        while before is not None and before.stage.t in (stage.t, 0):  # a fork's trunk, a warm-up before the stream
            before = before.parent
        if before is not None:
            parents["memory"] = self._memory(part, before)
        spec = {
            "t": stage.t,
            "seed": self.seed,
            "tasks": sorted(stage.tasks),
            "method": part.memory_spec(),
            "state": f"{type(part.method).__name__}.{same.index(part.method)}" if part.method in same else None,
            "train": {"sequence": self.ground.train["sequence"], "boundaries": self.ground.train["boundaries"]},
            "device": self.ground.resolved["device"],
        }
        name = f"{part.name} after {stage.name}"
        modules = (type(part.method).__module__,)
        return Node("consolidate", name, spec, parents, modules, local=self.ground.local)

    def _choices(self, active: list[Part], stage: Stage, parent: StagePlan | None) -> dict[str, Node]:
        """The chosen examples in place of all of a set, where a method of the stage chooses.

        The model that was learned says which, not the one that an earlier phase of alignment has made of it.
        """
        while parent is not None and parent.stage.phase != "learn":
            parent = parent.parent
        state = self.base if parent is None else parent.node
        found: dict[str, Node] = {}
        for part in active:
            if part.method.chosen() is not None:
                (name,) = stage.tasks
                found[f"data/{name}"] = self._choice(part, state, name)
        return found

    def _check_aligned(self, stage: Stage) -> None:
        """Raises UserError where a stage aligns with a set that its phase cannot learn from."""
        defined, phase = self.ground.scenario, stage.phase
        for name in stage.tasks if phase != "learn" else ():
            if name not in defined.general:
                raise UserError(unknown(f"{phase}.of: general set of {defined.name}", name, defined.general))
            if (kind := defined.general[name].kind) != ALIGNED[phase]:
                raise UserError(f"{phase}.of: {name} is a set of kind {kind}; name one of kind {ALIGNED[phase]}")

    def _choice(self, part: Part, state: Node, name: str) -> Node:
        """The examples of a set that a method chooses."""
        spec = {
            "set": name,
            "seed": self.seed,
            "method": part.choice_spec(),
            "system": self.ground.experiment.model.system,
            "train": {"sequence": self.ground.train["sequence"], "boundaries": self.ground.train["boundaries"]},
            "device": self.ground.resolved["device"],
            "precision": self.ground.resolved["precision"],
        }
        modules = (type(part.method).__module__,)
        title = f"{name} by {state.name}"
        return Node("select", title, spec, self._parents(state, [name]), modules, local=self.ground.local)

    def _teachers(
        self, active: list[Part], stage: Stage, parent: StagePlan | None, spans: Mapping[str, range | None]
    ) -> dict[str, Node]:
        """What a method that is taught in the stage needs: the model that teaches, or what is kept of what it says.

        spans: of each source, which places of its reading order the stage may read; None: all.
        """
        while parent is not None and stage.continues:
            stage, parent = parent.stage, parent.parent
        found: dict[str, Node] = {}
        for place, part in enumerate(active):
            teaching = part.method.teacher(stage.t)
            if teaching is None or teaching.mode == "adapter_off":
                continue
            model = self.base if parent is None or teaching.of == "base" else parent.node
            if teaching.cached:
                caches = {name: self._cache(teaching, model, name, span) for name, span in spans.items()}
                found |= {f"teacher/{place}/{name}": node for name, node in caches.items()}
            if teaching.mode in ("frozen_copy", "cache_hidden"):
                found[f"teacher/{place}"] = model
        return found

    def _cache(self, teaching: Teaching, model: Node, name: str, span: range | None) -> Node:
        """What the model says of the rows of a data set at some places of its reading order."""
        sampled = teaching.mode in ("cache_sampled", "cache_top_k")  # which model it is stands in the parents
        decides = dataclasses.replace(teaching, of="base") if sampled else Teaching("base", teaching.mode)
        spec = {
            "set": name,
            "positions": None if span is None else [span.start, span.stop],
            "seed": self.seed,
            "teaching": dataclasses.asdict(decides),
            "train": {"sequence": self.ground.train["sequence"], "boundaries": self.ground.train["boundaries"]},
            "device": self.ground.resolved["device"],
            "precision": self.ground.resolved["precision"],
        }
        cost = len(span or ()) * self.ground.experiment.train.sequence
        parents = self._parents(model, [name])
        if model is self.base:  # itself what a state of adapters would stand on: strategies without any share the node
            parents.pop("base", None)
        return Node("teacher", f"{model.name} on {name}", spec, parents, cost=cost)

    def _evaluated(self, plan: StagePlan, plans: list[StagePlan]) -> Node:
        """What the stage's row of R is of: its end state, or what the strategy merges of all up to it.

        Raises UserError where two methods merge.
        """
        states = [p.node for p in plans[: plans.index(plan) + 1] if p.stage.row]
        parts = [part for part in self.chosen.parts if part.method.merges(len(states))]
        if len(parts) > 1:
            raise UserError(f"strategies.{self.chosen.label}: {parts[0].name} and {parts[1].name} both merge; keep one")
        if not parts:
            return plan.node
        (part,) = parts
        spec = {"method": part.spec(), "states": len(states)}
        parents = {"base": self.base} | {f"state/{place}": state for place, state in enumerate(states, 1)}
        modules = (type(part.method).__module__,)
        return Node("merge", f"{part.name} up to {plan.stage.name}", spec, parents, modules, local=self.ground.local)

    def _own(self, plan: StagePlan | None) -> dict[str, str]:
        """The adapter that each task learned so far is tested with, where a method asks for its own."""
        if not any(part.method.alone() for part in self.chosen.parts):
            return {}
        found: dict[str, str] = {}
        while plan is not None:
            found = dict.fromkeys(plan.stage.tasks, f"t{plan.stage.t}") | found  # learned twice: the newer one
            plan = plan.parent
        return found
