"""Plan one run: the stages of a strategy, their train nodes, and the rows of R."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache

from cl.data.mixture import Account, Ledger
from cl.data.sampling import Reading, blend
from cl.errors import UserError
from cl.graph import memory_nodes, stage_checks
from cl.graph.code_version import entries_of
from cl.graph.gate_nodes import GateNodes
from cl.graph.measurement_specs import EvaluateSpec
from cl.graph.node import Node
from cl.graph.probe_nodes import history, inside_nodes, kept_steps, probe_nodes
from cl.graph.roles import STATE
from cl.graph.run_plan import RunPlan, StagePlan
from cl.graph.shared_nodes import SharedNodes
from cl.graph.side_nodes import SideNodes
from cl.graph.specs import TrainSpec, snapshot
from cl.methods.checks import check_edits
from cl.methods.contexts import Stage
from cl.methods.edits_rows import EditsRows
from cl.methods.lr_schedules import boundary
from cl.methods.method import LEARN, PlansStages
from cl.methods.modulates import Modulates
from cl.methods.strategy import Part, Strategy
from cl.registry import member, members, unknown
from cl.tasks.task import ANSWERED

ANSWER_SCORES = "cl.tasks.answer_scores"


class RunPlanner:
    """Plans the run of one strategy with one seed in one order of tasks.

    Args:
        shared: nodes and settings of the experiment.
        strategy: the strategy.
        own: per task with own settings, the nodes and the strategy with these settings.
        seed: seed of the run.
        order: names of the tasks.
    """

    def __init__(
        self,
        shared: SharedNodes,
        strategy: Strategy,
        own: Mapping[str, tuple[SharedNodes, Strategy]],
        seed: int,
        order: list[str],
    ) -> None:
        self.shared, self.strategy, self.seed = shared, strategy, seed
        self.order = order[: shared.experiment.upto]
        self.side = SideNodes(shared, strategy, own, seed)
        self.memory = memory_nodes.beside(self.side, self.order)

    def plan(self) -> RunPlan:
        """Plan the run."""
        known = len(self.shared.experiment.model.knows)
        plans: list[StagePlan] = []
        stages = self._stages(known)
        gates = GateNodes(self.side, self.order, stages)
        needed = gates.keeping({stage.parent for stage in stages if stage.parent is not None and self._keeps(stage)})
        try:
            check_edits([part.method for part in self.strategy.parts], stages)
        except UserError as error:
            raise UserError(f"strategies.{self.strategy.label}: {error}") from error
        for index, stage in enumerate(stages):
            parent = None if stage.parent is None else plans[stage.parent]
            found = self._stage(stage, parent, keep=index in needed)
            gates.check_reads(found)
            plans.append(gates.gated(found))
        rows = {known: self._row(self.side.base, known, None)}
        state, adapters = self.side.base, None
        for each in plans:
            if each.stage.row:
                state = self.side.evaluated(each, plans)
                adapters = self.side.adapters(each) if state is each.state else None
                rows[each.stage.row] = self._row(state, each.stage.row, adapters)
        left = range(max(rows) + 1, len(self.order) + 1)  # not trained, and what is beside the model may grow
        rows |= {t: self._row(state, t, adapters) for t in left}
        self._check_bank(rows, known)
        strategies = [self.strategy, *(own for _, own in self.side.own.values())]
        ends = {known: None} | {each.stage.row: each for each in plans if each.stage.row}
        ends |= dict.fromkeys(left, ends[max(ends)])
        histories = {t: history(ends[t], self.seed, self.shared.scenario) for t in rows}
        edits = {t for part in self.strategy.parts if isinstance(part.method, EditsRows) for t in part.method.edits()}
        edited = {each.stage.t: each.node for each in plans if each.stage.t in edits and each.stage.phase == LEARN}
        probes = probe_nodes(self.shared, rows, self.side.set, self.order, strategies, histories, edited)
        inside = inside_nodes(probes, plans)
        return RunPlan(self.strategy, self.seed, self.order, known, plans, rows, self.side.sets, probes, inside)

    def _check_bank(self, rows: Mapping[int, Node], known: int) -> None:
        """Raises UserError for a bank of modulations beside a model that is trained on: its network is of one state."""
        states = {node.parents[STATE].key for t, node in rows.items() if t > known}
        if self.memory is not None and isinstance(self.memory.method, Modulates) and len(states) > 1:
            where = f"strategies.{self.strategy.label}: {self.memory.name}"
            raise UserError(f"{where}: the model is trained on beside the bank; list `untrained: {{tasks: later}}` too")

    def _stages(self, known: int) -> list[Stage]:
        """The stream after all planning methods have changed it."""
        rows = self.shared.budget.rows
        stages = [
            Stage(task, {task: 1.0}, t, rows(task), None if t == known + 1 else t - known - 2, t)
            for t, task in enumerate(self.order, 1)
            if t > known
        ]
        for part in self.strategy.parts:
            if not isinstance(part.method, PlansStages):
                continue
            found = part.method.stages(stages)
            aligned = any(stage.phase != LEARN for stage in stages)
            if aligned and part.method.phase == LEARN and found != stages:
                where = f"strategies.{self.strategy.label}: {part.name}"
                raise UserError(f"{where} changes the stream; list it before the methods that align what was learned")
            stages = found
        return stages

    def _keeps(self, stage: Stage) -> bool:
        """Whether a stage starts with its parent's optimizer state."""
        if stage.parent is None:
            return False
        acting = [part.method for part in self.side.of(stage)[1].parts if part.acts(stage)]
        return stage.continues or any(isinstance(m, PlansStages) and m.carries_optimizer() for m in acting)

    def _stage(self, stage: Stage, parent: StagePlan | None, keep: bool) -> StagePlan:
        """Plan one stage. keep: store the optimizer's state for a child."""
        shared, strategy = self.side.of(stage)
        experiment, train = shared.experiment, shared.train
        active = strategy.active(stage)
        stage_checks.check(shared, strategy.label, stage, active)
        steps = max(1, round(stage.total / train.batch))
        first, last = boundary(steps, stage.start), boundary(steps, stage.stop)
        before = self._before(parent, stage)
        shares = self._shares(stage, before)
        sources = sorted({Reading.parse(key).source for key in shares})
        stage_checks.check_lengths(self.shared, strategy.label, sources, train.sequence)
        spec = TrainSpec(
            t=stage.t,
            steps=steps,
            first=first,
            last=last,
            shares=shares,
            seed=self.seed,
            train=train,
            compute=shared.compute,
            methods=tuple(part.in_stage(stage.t) for part in active),
            known={t: self.shared.budget.weight(t) for t in self.shared.experiment.model.knows if t in sources},
            continues=stage.continues,
            optimizer="keep" if self._keeps(stage) else "reset",
            weights=shared.weights,
        )
        snapshots = kept_steps(self.shared.experiment, self.strategy, stage, range(first + 1, last))
        after = _forecast(shares, before, last * train.batch, train.sequence)
        # Ledger after the whole stage, trunk and fork together; differs only if this node ends early.
        whole = after if last == steps else _forecast(shares, before, steps * train.batch, train.sequence)
        read = [name for part in active for name in self._read(part, stage, steps)]
        parents = self.side.parents(self.side.base if parent is None else parent.state, [*sources, *read])
        parents |= self.side.cuts(stage, sources)
        parents |= self.side.memories(active, stage, parent)
        parents |= self.side.selections(active, stage, parent)
        parents |= self.side.teachers(active, stage, parent, _spans(shares, before, whole))
        node = Node(
            stage.name,
            spec,
            parents,
            entries_of(type(part.method) for part in active),
            cost=shared.budget.cost(stage.tasks, (last - first) * train.batch),
            needs=frozenset([*(["optimizer.safetensors"] if keep else []), *map(snapshot, snapshots)]),
            uses=self.side.sets,
            local=replace(
                self.shared.local,
                evaluation=self.shared.experiment.evaluation,
                checkpoints=self.shared.experiment.checkpoints,
                keep_optimizer=keep,
                devices=experiment.train.devices,
                machines=experiment.train.nodes,
                distributed=experiment.train.distributed,
                snapshots=snapshots,
                packing=self.shared.packing,
            ),
        )
        return StagePlan(stage, node, parent, before, after)

    def _read(self, part: Part, stage: Stage, steps: int) -> tuple[str, ...]:
        """General sets that a method reads to edit a stage's rows. Raises UserError if it cannot edit them."""
        if not isinstance(part.method, EditsRows):
            return ()
        where, scenario = f"strategies.{self.strategy.label}: {part.name}", self.shared.scenario
        for name in part.method.reads():
            if name not in scenario.general:
                raise UserError(unknown(f"{where}: general set of {scenario.name}", name, scenario.general))
        kinds = dict.fromkeys(stage.tasks, ("text",)) | dict.fromkeys(part.method.reads(), part.method.reads_kinds)
        if other := [name for name in kinds if scenario.task(name.rpartition(":")[2]).kind not in kinds[name]]:
            raise UserError(f"{where}: edits rows of text, and {other[0]} is of another kind; leave one of the two out")
        train = self.side.of(stage)[0].train
        try:
            part.method.fits(steps * train.batch, train.sequence)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
        return part.method.reads()

    def _shares(self, stage: Stage, before: Ledger) -> dict[str, float]:
        """Share of each reading in the stage. New data come first, because the order decides the sequence of rows."""
        shares = dict(stage.tasks)
        for part in self.side.of(stage)[1].parts:
            if isinstance(part.method, PlansStages) and part.acts(stage):
                shares = part.method.mixture(shares, before)
        return {key: shares[key] for key in sorted(shares, key=_new_first) if shares[key] > 0}

    def _before(self, parent: StagePlan | None, stage: Stage) -> Ledger:
        """Forecast of the ledger before a stage: rows trained on and tokens consumed. Shares depend on nothing else."""
        if parent is not None:
            return parent.before if stage.continues else parent.after
        known = self.shared.experiment.model.knows
        tokens = {t: self.shared.budget.weight(t) for t in known}
        sequence = self.shared.packing.sequence
        return Ledger({t: Account(0, 0, trained=n // sequence, tokens=n, proxy=True) for t, n in tokens.items()})

    def _row(self, state: Node, t: int, adapters: dict[str, str] | None) -> Node:
        """The evaluate node of row t of R."""
        evaluation, sets = self.shared.experiment.evaluation, tuple(self.side.sets)
        kinds = {self.shared.scenario.task(name).kind for name in sets}
        generates = not kinds.isdisjoint(ANSWERED)
        if evaluation.split == "validation":  # retain and general sets must not influence decisions
            sets = tuple(self.order)
        scores = _scores_of(kinds) if generates and evaluation.items else ()
        asked = evaluation.prompting | evaluation.answering
        if asked and not scores:
            reason = "evaluation.items is 0" if generates else f"no measured set is of kind {' or '.join(ANSWERED)}"
            raise UserError(f"evaluation.{min(asked)}: has no effect: {reason}; remove it")
        lent = self.shared.scenario.harness if evaluation.split == "test" else {}
        spec = EvaluateSpec(
            sets,
            evaluation.tokens,
            evaluation.batch,
            evaluation.items if generates else 0,
            self.shared.packing,
            self.shared.evaluation,
            adapters or None,
            evaluation.split,
            scores,
            harness=tuple(each.spec() for each in lent.values()),
            **asked,
        )
        code = tuple(f"{ANSWER_SCORES}.{name}:score" for name in scores)
        cost = evaluation.tokens * len(sets)
        parents = self.side.parents(state, sets)
        if self.memory is not None:
            learned = self.order[len(self.shared.experiment.model.knows) : t]
            if isinstance(self.memory.method, Modulates):
                parents |= memory_nodes.modulated(self.side, self.memory, state, learned, sets)
            else:
                shown = memory_nodes.retrieved(self.side, self.memory, learned, sets)
                parents |= shown
                cost *= 1 + (self.memory.settings["k"] if shown else 0)  # an example is about as long as a question
        local = replace(self.shared.local, includes={name: each.include for name, each in lent.items() if each.include})
        return Node(f"row {t} after {state.name}", spec, parents, code, cost=cost, local=local)


def _scores_of(kinds: set[str]) -> tuple[str, ...]:
    """Names of the scores of answers that sets of these kinds have; a score without KINDS is of all kinds."""
    asked = {name: member(ANSWER_SCORES, name, "KINDS", ANSWERED) for name in members(ANSWER_SCORES)}
    return tuple(name for name, own in asked.items() if not kinds.isdisjoint(own))


def _new_first(share: str) -> tuple[bool, str]:
    """Sort key of readings: new data before replayed and other data."""
    return Reading.parse(share).beside, share


def _spans(shares: Mapping[str, float], before: Ledger, after: Ledger) -> dict[str, range | None]:
    """Positions of each source's reading order that a stage may read. None: all positions, for a proxy."""
    spans: dict[str, range | None] = {}
    for reading in map(Reading.parse, shares):
        account, old = after.accounts[reading.source], before.accounts.get(reading.source)
        start = 0 if old is None or reading.replay else old.trained
        spans[reading.source] = None if account.proxy else range(start, account.trained)
    return spans


def _forecast(shares: Mapping[str, float], before: Ledger, rows: int, sequence: int) -> Ledger:
    """Forecast of the ledger after a stage.

    Args:
        shares: share of each reading.
        before: ledger before the stage.
        rows: rows of the stage.
        sequence: tokens per row.
    """
    accounts = dict(before.accounts)
    counts = _rows_of(tuple(shares.values()), rows)
    for key, count in zip(shares, counts, strict=True):
        reading = Reading.parse(key)
        old = accounts.get(reading.source, Account(0, 0))
        trained = old.trained + (0 if reading.replay else count)
        accounts[reading.source] = replace(old, trained=trained, tokens=old.tokens + count * sequence)
    return Ledger(accounts)


@lru_cache(maxsize=4096)
def _rows_of(shares: tuple[float, ...], rows: int) -> tuple[int, ...]:
    """Number of a stage's rows from each reading."""
    if len(shares) == 1:
        return (rows,)
    drawn = blend(list(shares), rows)
    return tuple(int((drawn == index).sum()) for index in range(len(shares)))
