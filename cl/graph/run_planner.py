"""The chain of nodes of one run: which stages a strategy makes of the stream, and what each stands on."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from cl.data.mixture import Account, Ledger
from cl.data.sampling import Reading, blend
from cl.errors import UserError
from cl.graph.node import Node
from cl.graph.run_plan import RunPlan, StagePlan
from cl.graph.shared_nodes import TOGETHER
from cl.graph.side_nodes import Sides
from cl.methods.contexts import Stage
from cl.methods.lr_schedules import boundary
from cl.methods.method import Method, check_together
from cl.methods.strategy import Part


class Chain(Sides):
    """Plans the run of one strategy with one seed in one order of tasks."""

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
            found = part.method.stages(stages)
            aligned = any(stage.phase != "learn" for stage in stages)
            if aligned and type(part.method).phase == "learn" and found != stages:
                where = f"strategies.{self.chosen.label}: {part.name}"
                raise UserError(f"{where} changes the stream; list it before the methods that align (sft, dpo)")
            stages = found
        return stages

    def _keeps(self, stage: Stage) -> bool:
        if stage.parent is None:
            return False
        kept = any(part.method.keep_optimizer() for part in self._of(stage)[1].parts if part.acts(stage))
        return stage.continues or kept

    def _stage(self, stage: Stage, parent: StagePlan | None, keep: bool) -> StagePlan:
        self._check_aligned(stage)
        ground, chosen = self._of(stage)
        train = ground.experiment.train
        steps = max(1, round(stage.total / train.batch))
        first, last = boundary(steps, stage.start), boundary(steps, stage.stop)
        before = self._before(parent, stage)
        shares = self._shares(stage, before)
        sources = sorted({Reading.parse(key).source for key in shares})
        active = chosen.active(stage)
        self._check_active(stage, active)
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
            "train": ground.train,
            "methods": [part.stage_spec(stage.t) for part in active],
            **self.ground.resolved,
        }
        parents = self._parents(self.base if parent is None else parent.node, sources)
        parents |= self._memories(active, stage, parent)
        after = _forecast(shares, before, last * train.batch, train.sequence)
        parents |= self._choices(active, stage, parent)
        whole = _forecast(shares, before, steps * train.batch, train.sequence)  # of trunk and fork together
        parents |= self._teachers(active, stage, parent, _spans(shares, before, whole))
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
                **{name: getattr(train, name) for name in TOGETHER},
                **self.ground.local,
            },
        )
        return StagePlan(stage, node, parent, before, after)

    def _check_active(self, stage: Stage, active: list[Part]) -> None:
        """Raises UserError for methods that cannot train a stage together, or not on the devices that are asked for."""
        schedules = [part.name for part in active if type(part.method).schedule is not Method.schedule]
        if len(schedules) > 1:
            raise UserError(f"strategies.{self.chosen.label}: two schedules in stage {stage.t}: {schedules}; keep one")
        train = self.ground.experiment.train
        if train.devices > 1:
            check_together((part.method for part in active), sharded=train.distributed == "fsdp")

    def _shares(self, stage: Stage, before: Ledger) -> dict[str, float]:
        """Share of each reading in the stage: new data first, for which row comes when depends on the order."""
        shares = dict(stage.tasks)
        for part in self._of(stage)[1].parts:
            if part.acts(stage):
                shares = part.method.mixture(shares, before)
        return {key: shares[key] for key in sorted(shares, key=_new_first) if shares[key] > 0}

    def _before(self, parent: StagePlan | None, stage: Stage) -> Ledger:
        """Forecast of what was consumed before a stage: rows trained on and tokens, all that shares depend on."""
        if parent is not None:
            return parent.before if stage.continues else parent.after
        known = self.ground.experiment.model.knows
        tokens = {t: self.ground.budget.weight(t) for t in known}
        sequence = self.ground.experiment.train.sequence
        return Ledger({t: Account(0, 0, trained=n // sequence, tokens=n, proxy=True) for t, n in tokens.items()})

    def _row(self, state: Node, t: int, own: Mapping[str, str] | None = None) -> Node:
        train, evaluation = self.ground.experiment.train, self.ground.experiment.evaluation
        generates = any(self.ground.scenario.task(name).kind == "instruction" for name in self.data)
        tasks = self.ground.scenario.tasks.items() if evaluation.probing else ()
        probed = [name for name, task in tasks if task.kind == "instruction"]
        test = evaluation.split == "test"
        sets = list(self.data) if test else self.order  # nothing but the stream's own tasks may decide anything
        spec = {
            "sets": sets,
            "tokens": evaluation.tokens,
            "batch": evaluation.batch,
            "items": evaluation.items if generates else 0,
            "train": {"sequence": train.sequence, "boundaries": train.boundaries},
            "device": self.ground.resolved["device"],
            "precision": self.ground.resolved["precision"],
            **({"select": own} if own else {}),
            **({"probing": probed} if probed else {}),
            **({} if test else {"split": evaluation.split}),
        }
        name, cost = f"row {t} after {state.name}", evaluation.tokens * len(sets)
        return Node("evaluate", name, spec, self._parents(state, sets), cost=cost)


def _new_first(share: str) -> tuple[bool, str]:
    return Reading.parse(share).beside, share


def _spans(shares: Mapping[str, float], before: Ledger, after: Ledger) -> dict[str, range | None]:
    """The places of each source's reading order that a stage may read; None: all of them, of a proxy."""
    spans: dict[str, range | None] = {}
    for reading in map(Reading.parse, shares):
        account, old = after.accounts[reading.source], before.accounts.get(reading.source)
        start = 0 if old is None or reading.replay else old.trained
        spans[reading.source] = None if account.proxy else range(start, account.trained)
    return spans


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
