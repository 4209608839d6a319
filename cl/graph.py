"""From an experiment to its graph of nodes: pure planning, nothing is read but definitions and fingerprints.

What a method does to the stream (which stages, in which shares, from which parent) is worked out here and
stands in the specification of the train nodes; only methods that act inside training are named there. So two
strategies whose effect on a stage is the same ask for the same node, and it is trained once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cl import models, scenario, strategy
from cl.catalog import unknown
from cl.errors import UserError
from cl.experiment import Experiment
from cl.method import Method, Stage
from cl.mixing import Account, Ledger, Reading, blend
from cl.node import Node, ancestors, digest
from cl.scenario import Scenario
from cl.schedules import boundary
from cl.strategy import Strategy

DEFAULT_VOCABULARY = 4096


@dataclass(frozen=True)
class StagePlan:
    """A stage with its train node; `before` and `after` forecast what was consumed when it starts and ends."""

    stage: Stage
    node: Node
    offset: int
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

    @cached_property
    def key(self) -> str:
        """Identity of the run: the keys of everything it reports."""
        return digest([[s.node.key for s in self.stages], {str(t): node.key for t, node in self.rows.items()}])


@dataclass(frozen=True)
class Graph:
    """All runs of an experiment and the nodes they stand on."""

    experiment: Experiment
    scenario: Scenario
    runs: list[RunPlan]
    data: dict[str, Node]
    base: Node

    @cached_property
    def nodes(self) -> list[Node]:
        """Every node once, parents before children."""
        return ancestors(node for run in self.runs for node in (*(s.node for s in run.stages), *run.rows.values()))

    @property
    def asked(self) -> int:
        """Train nodes that all runs together ask for; how many there really are is for `nodes` to tell."""
        return sum(len(run.stages) for run in self.runs)

    @property
    def warnings(self) -> list[str]:
        """Sentences about degenerate settings, each once."""
        found = [text for run in self.runs for text in run.strategy.warnings]
        known = {task: None for run in self.runs for stage in run.stages for task in stage.node.spec["known"]}
        proxies = [f"replay of {task} reads a proxy of what the pretrained model saw" for task in known]
        return list(dict.fromkeys([*found, *proxies]))


def build(experiment: Experiment) -> Graph:
    """Plan all runs. Raises UserError for anything in the experiment that cannot be meant."""
    defined = scenario.load(experiment.scenario)
    check(experiment, defined)
    strategies = [
        strategy.build(label, changes, experiment.strategy) for label, changes in experiment.strategies.items()
    ]
    if unused := set(experiment.strategy) - {part.name for s in strategies for part in s.parts}:
        raise UserError(f"strategy.{min(unused)}: no strategy of this experiment has that method; remove the setting")
    builder = _Builder(experiment, defined)
    orders = experiment.orders or [list(defined.tasks)]
    runs = [builder.run(chosen, seed, order) for order in orders for seed in experiment.seeds for chosen in strategies]
    return Graph(experiment, defined, runs, builder.data, builder.base(experiment.seeds[0]))


def check(experiment: Experiment, defined: Scenario) -> None:
    """Refuse names that the scenario does not have, and budgets that are missing or meaningless."""
    named = models.tokenizer_model(experiment.model)
    for order in experiment.orders or []:
        if sorted(order) != sorted(defined.tasks):
            raise UserError(f"orders: {order} must name each task of {defined.name} once: {list(defined.tasks)}")
        if order[: len(experiment.model.knows)] != experiment.model.knows:
            raise UserError(f"orders: {order} must begin with what the model knows: {experiment.model.knows}")
    if experiment.model.revision and "hub" not in map(models.origin, (experiment.model.name, named.name)):
        raise UserError(
            f"model.revision: {experiment.model.revision} has no effect: nothing is from the hub; remove it"
        )
    if experiment.model.knows != list(defined.tasks)[: len(experiment.model.knows)]:
        raise UserError(f"model.knows: {experiment.model.knows} must be the first of the tasks {list(defined.tasks)}")
    if experiment.model.knows and models.origin(experiment.model.name) == "fresh":
        raise UserError(f"model.knows: {experiment.model.name} is a fresh model and knows nothing; remove the key")
    if len(experiment.model.knows) == len(defined.tasks):
        raise UserError("model.knows: names every task; leave at least one to train")
    budget = (
        experiment.tokens if isinstance(experiment.tokens, dict) else dict.fromkeys(defined.tasks, experiment.tokens)
    )
    for task, tokens in budget.items():
        if task not in defined.tasks:
            raise UserError(unknown("tokens: task", task, defined.tasks))
        if tokens < experiment.train.batch * experiment.train.sequence:
            raise UserError(f"tokens.{task}: {tokens} is less than one optimizer step (train.batch x train.sequence)")
    if missing := [t for t in defined.tasks if t not in budget and t not in experiment.model.knows]:
        raise UserError(f"tokens.{missing[0]}: is missing; give the training tokens of every task")


class _Builder:
    """Builds the nodes of one experiment; equal nodes are found by their keys, so none is remembered here."""

    def __init__(self, experiment: Experiment, defined: Scenario) -> None:
        self.experiment, self.scenario = experiment, defined
        self.resolved = models.resolve(experiment.train, models.stated_parameters(experiment.model))
        self.train = dataclasses.asdict(experiment.train)
        for name in ("precision", "compile", "device"):
            del self.train[name]  # in the key as resolved
        self.tokenizer = self._tokenizer()
        self.data = {name: self._data(name) for name in (*defined.tasks, *defined.retain)}

    def _tokenizer(self) -> Node:
        model = self.experiment.model
        trained = models.origin(model.name) == "fresh" and model.tokenizer is None
        if model.vocabulary and not trained:
            raise UserError(
                f"model.vocabulary: {model.vocabulary} has no effect: the tokenizer is not trained; remove it"
            )
        content = {name: self.scenario.fingerprint(name) for name in sorted(self.scenario.tasks)} if trained else {}
        named = models.tokenizer_model(model)
        spec = {
            "train_on": content,
            "vocabulary": (model.vocabulary or DEFAULT_VOCABULARY) if trained else None,
            "source": None if trained else models.fingerprint(named),
        }
        name = f"tokenizer trained on {' + '.join(content)}" if trained else f"tokenizer of {named.name}"
        extra = tuple(m for task in self.scenario.tasks.values() for m in task.modules()) if trained else ()
        return Node("tokenizer", name, spec, extra_sources=extra, local=self._local())

    def _local(self) -> dict[str, Any]:
        return {"scenario": self.experiment.scenario, "model": dataclasses.asdict(self.experiment.model)}

    def _data(self, name: str) -> Node:
        spec = {"task": name, "content": self.scenario.fingerprint(name)}
        modules = self.scenario.task(name).modules()
        return Node("data", name, spec, {"tokenizer": self.tokenizer}, modules, local=self._local())

    def base(self, seed: int) -> Node:
        """The model before any training; only a fresh one depends on the seed."""
        fresh = models.origin(self.experiment.model.name) == "fresh"
        spec = {
            "source": models.fingerprint(self.experiment.model),
            "seed": seed if fresh else None,
            "sequence": self.experiment.train.sequence,
        }
        return Node("base", self.experiment.model.name, spec, {"tokenizer": self.tokenizer}, local=self._local())

    def run(self, chosen: Strategy, seed: int, order: list[str]) -> RunPlan:
        """Plan one run of a strategy."""
        known = len(self.experiment.model.knows)
        plans: list[StagePlan] = []
        stages = self._stages(chosen, order, known)
        needed = {stage.parent for stage in stages if self._keeps(chosen, stage)}
        for index, stage in enumerate(stages):
            parent = None if stage.parent is None else plans[stage.parent]
            plans.append(self._stage(chosen, stage, seed, parent, keep=index in needed))
        base = self.base(seed)
        rows = {known: self._row(base, known)}
        rows |= {p.stage.row: self._row(p.node, p.stage.row) for p in plans if p.stage.row is not None}
        return RunPlan(chosen, seed, order, known, plans, rows)

    def _stages(self, chosen: Strategy, order: list[str], known: int) -> list[Stage]:
        stages = [
            Stage(task, {task: 1.0}, t, self._tokens(task), None if t == known + 1 else t - known - 2, t)
            for t, task in enumerate(order, 1)
            if t > known
        ]
        for part in chosen.parts:
            stages = part.method.stages(stages)
        return stages

    def _tokens(self, task: str) -> int:
        budget = self.experiment.tokens
        return budget if isinstance(budget, int) else budget[task]

    def _keeps(self, chosen: Strategy, stage: Stage) -> bool:
        if stage.parent is None:
            return False
        kept = any(part.method.keep_optimizer() for part in chosen.parts if part.method.active(stage.t))
        return stage.continues or kept

    def _stage(self, chosen: Strategy, stage: Stage, seed: int, parent: StagePlan | None, keep: bool) -> StagePlan:
        row = self.experiment.train.batch * self.experiment.train.sequence
        steps = max(1, round(stage.total / row))
        first, last = boundary(steps, stage.start), boundary(steps, stage.stop)
        before = self._before(parent, stage)
        shares = dict(stage.tasks)
        for part in chosen.parts:
            if part.method.active(stage.t):
                shares = part.method.mixture(shares, before)
        # In one order, new data first: which row comes when depends on it, and a key does not see it.
        shares = {key: shares[key] for key in sorted(shares, key=_new_first) if shares[key] > 0}
        sources = sorted({Reading.parse(key).source for key in shares})
        active = chosen.active(stage.t)
        schedules = [part.name for part in active if type(part.method).schedule is not Method.schedule]
        if len(schedules) > 1:
            raise UserError(f"strategies.{chosen.label}: two schedules in stage {stage.t}: {schedules}; keep one")
        spec = {
            "t": stage.t,
            "steps": steps,
            "first": first,
            "last": last,
            "shares": shares,
            "seed": seed,
            "continues": stage.continues,
            "optimizer": "keep" if self._keeps(chosen, stage) else "reset",
            "known": {task: self._known_tokens(task) for task in self.experiment.model.knows if task in sources},
            "train": self.train,
            "methods": [part.spec() for part in active],
            **self.resolved,
        }
        state = self.base(seed) if parent is None else parent.node
        node = Node(
            "train",
            stage.name,
            spec,
            {"state": state, "tokenizer": self.tokenizer, **{f"data/{name}": self.data[name] for name in sources}},
            tuple(type(part.method).__module__ for part in active),
            cost=(last - first) * row,
            needs=frozenset({"optimizer.safetensors"} if keep else ()),
            uses=self.data,
            local={
                "evaluation": dataclasses.asdict(self.experiment.evaluation),
                "keep_optimizer": keep,
                "checkpoints": dataclasses.asdict(self.experiment.checkpoints),
                **self._local(),
            },
        )
        offset = 0 if parent is None else parent.offset + parent.node.cost
        after = _forecast(shares, before, last * self.experiment.train.batch, self.experiment.train.sequence)
        return StagePlan(stage, node, offset, before, after)

    def _before(self, parent: StagePlan | None, stage: Stage) -> Ledger:
        """Forecast of what was consumed before a stage: tokens only, for this is all that shares depend on."""
        if parent is not None:
            return parent.before if stage.continues else parent.after
        accounts = {t: Account(0, 0, tokens=self._known_tokens(t), proxy=True) for t in self.experiment.model.knows}
        return Ledger(accounts)

    def _known_tokens(self, task: str) -> int:
        """Weight of a known task in the split of replay: its budget, or the largest one where it has none."""
        budget = self.experiment.tokens
        return budget.get(task, max(budget.values())) if isinstance(budget, dict) else budget

    def _row(self, state: Node, t: int) -> Node:
        train, evaluation = self.experiment.train, self.experiment.evaluation
        sets = list(self.data)
        spec = {
            "sets": sets,
            "tokens": evaluation.tokens,
            "batch": evaluation.batch,
            "train": {"sequence": train.sequence, "boundaries": train.boundaries},
            "device": self.resolved["device"],
            "precision": self.resolved["precision"],
        }
        parents = {"state": state, "tokenizer": self.tokenizer, **{f"data/{n}": node for n, node in self.data.items()}}
        return Node("evaluate", f"row {t} after {state.name}", spec, parents, cost=evaluation.tokens * len(sets))


def _new_first(share: str) -> tuple[bool, str]:
    return Reading.parse(share).replay, share


def _forecast(shares: Mapping[str, float], before: Ledger, rows: int, sequence: int) -> Ledger:
    """Tokens consumed by source after a stage of so many rows."""
    accounts = dict(before.accounts)
    drawn = blend(list(shares.values()), rows)
    for index, key in enumerate(shares):
        source = Reading.parse(key).source
        old = accounts.get(source, Account(0, 0))
        accounts[source] = dataclasses.replace(old, tokens=old.tokens + int((drawn == index).sum()) * sequence)
    return Ledger(accounts)
