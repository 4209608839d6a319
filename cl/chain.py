"""The chain of nodes of one run: which stages a strategy makes of the stream, and what each stands on."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from cl.errors import UserError
from cl.ground import Ground
from cl.method import Method, Stage, Teaching
from cl.mixing import Account, Ledger
from cl.node import Node, digest
from cl.reading import Reading, blend
from cl.schedules import boundary
from cl.strategy import Part, Strategy


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
    """The chain of nodes of one scenario x strategy x model x seed x order; rows: evaluate nodes of R."""

    strategy: Strategy
    seed: int
    order: list[str]
    known: int
    stages: list[StagePlan]
    rows: dict[int, Node]
    data: dict[str, Node]

    @property
    def merged(self) -> bool:
        """Whether rows of R are of merged models, which are not what was trained."""
        return any(row.parents["state"].kind == "merge" for row in self.rows.values())

    @property
    def independent(self) -> bool:
        """Whether each task was learned from the base model and nothing merges them: rows do not follow one another."""
        return sum(plan.stage.parent is None for plan in self.stages) > 1 and not self.merged

    @cached_property
    def key(self) -> str:
        """Identity of the run: the keys of everything it reports."""
        return digest([[s.node.key for s in self.stages], {str(t): node.key for t, node in self.rows.items()}])


class Chain:
    """Plans the run of one strategy with one seed in one order of tasks."""

    def __init__(self, ground: Ground, chosen: Strategy, seed: int, order: list[str]) -> None:
        self.ground, self.chosen, self.seed, self.order = ground, chosen, seed, order
        self.base = ground.base(seed)
        self.data = ground.data([part for part in chosen.parts if part.transforms])

    def plan(self) -> RunPlan:
        """Plan the run."""
        known = len(self.ground.experiment.model.knows)
        plans: list[StagePlan] = []
        stages = self._stages(known)
        needed = {stage.parent for stage in stages if self._keeps(stage)}
        for index, stage in enumerate(stages):
            parent = None if stage.parent is None else plans[stage.parent]
            plans.append(self._stage(stage, parent, keep=index in needed))
        rows = {known: self._row(self.base, known)}
        for each in plans:
            if each.stage.row:
                shown = self._evaluated(each, plans)
                rows[each.stage.row] = self._row(shown, each.stage.row, self._own(each) if shown is each.node else {})
        return RunPlan(self.chosen, self.seed, self.order, known, plans, rows, self.data)

    def _stages(self, known: int) -> list[Stage]:
        stages = [
            Stage(task, {task: 1.0}, t, self.ground.budget.rows(task), None if t == known + 1 else t - known - 2, t)
            for t, task in enumerate(self.order, 1)
            if t > known
        ]
        for part in self.chosen.parts:
            stages = part.method.stages(stages)
        return stages

    def _keeps(self, stage: Stage) -> bool:
        if stage.parent is None:
            return False
        kept = any(part.method.keep_optimizer() for part in self.chosen.parts if part.method.active(stage.t))
        return stage.continues or kept

    def _stage(self, stage: Stage, parent: StagePlan | None, keep: bool) -> StagePlan:
        train = self.ground.experiment.train
        steps = max(1, round(stage.total / train.batch))
        first, last = boundary(steps, stage.start), boundary(steps, stage.stop)
        before = self._before(parent, stage)
        shares = self._shares(stage, before)
        sources = sorted({Reading.parse(key).source for key in shares})
        active = self.chosen.active(stage.t)
        schedules = [part.name for part in active if type(part.method).schedule is not Method.schedule]
        if len(schedules) > 1:
            raise UserError(f"strategies.{self.chosen.label}: two schedules in stage {stage.t}: {schedules}; keep one")
        spec = {
            "t": stage.t,
            "steps": steps,
            "first": first,
            "last": last,
            "shares": shares,
            "seed": self.seed,
            "continues": stage.continues,
            "optimizer": "keep" if self._keeps(stage) else "reset",
            "known": {t: self.ground.budget.weight(t) for t in self.ground.experiment.model.knows if t in sources},
            "train": self.ground.train,
            "methods": [part.stage_spec(stage.t) for part in active],
            **self.ground.resolved,
        }
        parents = self._parents(self.base if parent is None else parent.node, sources)
        parents |= self._memories(active, stage, parent)
        after = _forecast(shares, before, last * train.batch, train.sequence)
        parents |= self._teachers(active, stage, parent, {name: after.accounts[name] for name in sources})
        node = Node(
            "train",
            stage.name,
            spec,
            parents,
            tuple(type(part.method).__module__ for part in active),
            cost=self.ground.budget.cost(stage.tasks, (last - first) * train.batch),
            needs=frozenset({"optimizer.safetensors"} if keep else ()),
            uses=self.data,
            local={
                "evaluation": dataclasses.asdict(self.ground.experiment.evaluation),
                "keep_optimizer": keep,
                "checkpoints": dataclasses.asdict(self.ground.experiment.checkpoints),
                **self.ground.local,
            },
        )
        return StagePlan(stage, node, parent, before, after)

    def _shares(self, stage: Stage, before: Ledger) -> dict[str, float]:
        """Share of each reading in the stage: new data first, for which row comes when depends on the order."""
        shares = dict(stage.tasks)
        for part in self.chosen.parts:
            if part.method.active(stage.t):
                shares = part.method.mixture(shares, before)
        return {key: shares[key] for key in sorted(shares, key=_new_first) if shares[key] > 0}

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
        stage, active = plan.stage, [p.method for p in self.chosen.active(plan.stage.t)]
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

    def _teachers(
        self, active: list[Part], stage: Stage, parent: StagePlan | None, sources: Mapping[str, Account]
    ) -> dict[str, Node]:
        """What a method that is taught in the stage needs: the model that teaches, or what is kept of what it says.

        sources: what is read in the stage, with what was read of each when it ends.
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
                caches = {name: self._cache(teaching, model, name, account) for name, account in sources.items()}
                found |= {f"teacher/{place}/{name}": node for name, node in caches.items()}
            if teaching.mode in ("frozen_copy", "cache_hidden"):
                found[f"teacher/{place}"] = model
        return found

    def _cache(self, teaching: Teaching, model: Node, name: str, account: Account) -> Node:
        """What the model says of all rows of a data set that were read so far."""
        sampled = teaching.mode in ("cache_sampled", "cache_top_k")
        spec = {
            "set": name,
            "positions": None if account.proxy else account.trained,
            "seed": self.seed,
            "teaching": dataclasses.asdict(teaching if sampled else Teaching("base", teaching.mode)),
            "train": {"sequence": self.ground.train["sequence"], "boundaries": self.ground.train["boundaries"]},
            "device": self.ground.resolved["device"],
            "precision": self.ground.resolved["precision"],
        }
        cost = account.trained * self.ground.experiment.train.sequence
        return Node("teacher", f"{model.name} on {name}", spec, self._parents(model, [name]), cost=cost)

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

    def _before(self, parent: StagePlan | None, stage: Stage) -> Ledger:
        """Forecast of what was consumed before a stage: rows trained on and tokens, all that shares depend on."""
        if parent is not None:
            return parent.before if stage.continues else parent.after
        known = self.ground.experiment.model.knows
        tokens = {t: self.ground.budget.weight(t) for t in known}
        sequence = self.ground.experiment.train.sequence
        return Ledger({t: Account(0, 0, trained=n // sequence, tokens=n, proxy=True) for t, n in tokens.items()})

    def _own(self, plan: StagePlan | None) -> dict[str, str]:
        """The adapter that each task learned so far is tested with, where a method asks for its own."""
        if not any(part.method.alone() for part in self.chosen.parts):
            return {}
        found: dict[str, str] = {}
        while plan is not None:
            found = dict.fromkeys(plan.stage.tasks, f"t{plan.stage.t}") | found  # learned twice: the newer one
            plan = plan.parent
        return found

    def _row(self, state: Node, t: int, own: Mapping[str, str] | None = None) -> Node:
        train, evaluation = self.ground.experiment.train, self.ground.experiment.evaluation
        generates = any(self.ground.scenario.task(name).kind == "instruction" for name in self.data)
        tasks = self.ground.scenario.tasks.items() if evaluation.probing else ()
        probed = [name for name, task in tasks if task.kind == "instruction"]
        spec = {
            "sets": list(self.data),
            "tokens": evaluation.tokens,
            "batch": evaluation.batch,
            "items": evaluation.items if generates else 0,
            "train": {"sequence": train.sequence, "boundaries": train.boundaries},
            "device": self.ground.resolved["device"],
            "precision": self.ground.resolved["precision"],
            **({"select": own} if own else {}),
            **({"probing": probed} if probed else {}),
        }
        name, cost = f"row {t} after {state.name}", evaluation.tokens * len(self.data)
        return Node("evaluate", name, spec, self._parents(state, self.data), cost=cost)


def _new_first(share: str) -> tuple[bool, str]:
    return Reading.parse(share).beside, share


def _forecast(shares: Mapping[str, float], before: Ledger, rows: int, sequence: int) -> Ledger:
    """Rows trained on and tokens consumed by source after a stage of so many rows."""
    accounts = dict(before.accounts)
    drawn = blend(list(shares.values()), rows)
    for index, key in enumerate(shares):
        reading, count = Reading.parse(key), int((drawn == index).sum())
        old = accounts.get(reading.source, Account(0, 0))
        trained = old.trained + (0 if reading.replay else count)
        accounts[reading.source] = dataclasses.replace(old, trained=trained, tokens=old.tokens + count * sequence)
    return Ledger(accounts)
