"""Settings of `cl order`, `cl compare` and `cl tune`, as frozen dataclasses that check themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from cl.errors import UserError


@dataclass(frozen=True)
class SampleOrder:
    """How the effect of the order of batches is estimated, and what is asked (`cl order`). `cl run` does not read it.

    Args:
        strategy: label of the strategy whose runs are reordered; by default the only one.
        first: task whose batches are the first to change places, by its number in the stream; tasks before it are
            trained as they are.
        references: real runs that an estimate stands on: the given order, its reverse, then random ones.
        stars: add one step of every batch from the start, which is where Adam's first steps go.
        stride: positions between two support points of a reference run.
        oracle: how gradients are estimated: `secant`, or `reuse`, `grid0`, `setadd`, `replay`, `hvp_grid`,
            `hvp_single`.
        readout: from parameters to a loss: `forward`, `quadratic`, `linear`, or `auto`: `forward` where the estimator's
            signals are good, else `quadratic`.
        ridge: of the secant's projection.
        part: rows of each batch that the oracle `replay` learns from along every order; 0 = none.
        gigabytes: most that the grid of gradients may take.
        objective: sets whose mean validation loss is estimated; by default the tasks whose batches change places.
        tokens: validation tokens of each set of the objective; their gradients are computed at every support point.
        orders: for `estimate`: orders as lists of batch numbers, or `given`, `reversed`, `random`.
        held_out: for `validate`: how many random orders are really trained.
        ceilings: for `validate`: compare with Hessian-vector products too; dearer than retraining.
        method: for `search`: `anneal`, `genetic` or `optuna`.
        trials: for `search`: orders that are estimated.
        verify: for `search`: how many of the best are really trained.
        force: for `search`: search although the estimator's fidelity says that ranks are useless.
        samples: for `position`: batches that are moved; by default five, evenly spaced.
        design: for `position`: `shift` (the others keep their order) or `random` (mean over random orders of them).
        draws: for `position`: random orders of the others.
        seed: of random orders and of the search.
    """

    strategy: str | None = None
    first: int = 1
    references: int = 2
    stars: bool = True
    stride: int = 1
    oracle: str = "secant"
    readout: str = "auto"
    ridge: float = 1e-2
    part: int = 0
    gigabytes: float = 4.0
    objective: list[str] | None = None
    tokens: int = 4096
    orders: list[str | list[int]] = field(default_factory=lambda: ["given", "reversed", "random"])
    held_out: int = 12
    ceilings: bool = False
    method: Literal["anneal", "genetic", "optuna"] = "anneal"
    trials: int = 2000
    verify: int = 3
    force: bool = False
    samples: list[int] | None = None
    design: Literal["shift", "random"] = "shift"
    draws: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        least = {
            "first": 1,
            "references": 1,
            "stride": 1,
            "part": 0,
            "tokens": 1,
            "held_out": 3,
            "verify": 0,
            "draws": 1,
        }
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise UserError(f"order.{name}: {getattr(self, name)} must be at least {bound}")
        if self.ridge < 0 or self.gigabytes <= 0:
            raise UserError(f"order: ridge {self.ridge} must be at least 0, gigabytes {self.gigabytes} above 0")
        if (self.oracle == "replay") != (self.part > 0):
            raise UserError(
                f"order.part: {self.part} rows with the oracle {self.oracle}; `replay` needs some, others none"
            )


@dataclass(frozen=True)
class Compare:
    """What `cl compare` tests. Declared in the experiment, before its results are known; `cl run` does not read it.

    Args:
        metrics: keys of metrics that are tested; by default the mean over tasks after the last one (`op_final` of
            strict scores, `op_final_nll` of losses). Every pair times every metric is one test of the family.
        pairs: `baseline` (each strategy against `baseline`), `all`, or a list of pairs of labels.
        baseline: label of the strategy that the others are held against; by default the first.
        unit: what is paired: `run` (one seed in one task order), `seed` (mean over orders) or `order` (over seeds).
        alpha: largest adjusted p that is called a difference.
        level: of the bootstrap intervals.
        resamples: of the bootstrap.
        skip: leading tasks that no metric counts, because hyperparameters were chosen on them.
        items: score of single answers by which the pairs are tested as well (`strict`, `normalised` or `format_ok`): a
            claim about these checkpoints alone, where runs are too few for one about runs.
    """

    metrics: list[str] | None = None
    pairs: Literal["baseline", "all"] | list[tuple[str, str]] = "baseline"
    baseline: str | None = None
    unit: Literal["run", "seed", "order"] = "run"
    alpha: float = 0.05
    level: float = 0.95
    resamples: int = 10_000
    skip: int = 0
    items: Literal["strict", "normalised", "format_ok"] | None = None

    def __post_init__(self) -> None:
        for name in ("alpha", "level"):
            if not 0 < getattr(self, name) < 1:
                raise UserError(f"compare.{name}: {getattr(self, name)} must be between 0 and 1")
        if self.resamples < 100 or self.skip < 0:
            raise UserError(f"compare: resamples {self.resamples} must be at least 100, skip {self.skip} at least 0")
        if self.metrics == [] or self.pairs == []:
            raise UserError("compare: metrics and pairs must name something; leave them out for the defaults")


@dataclass(frozen=True)
class Tune:
    """How hyperparameters are chosen (`cl tune`): what to search stands next to the values, see `cl.space`.

    Args:
        strategies: labels that are tuned, each by itself; by default all.
        protocol: `first_k`: on the first `first` tasks of each order, which then count in no comparison; `two_stream`:
            on another scenario; `per_task`: each task's own, when it comes, on its validation data; `oracle`: on the
            whole stream that is scored, which is cheating and is called so.
        first: tasks of `first_k`.
        scenario: of `two_stream`: name or YAML path; it may share no task with the experiment's.
        tokens: of `two_stream`: as the experiment's `tokens`, for that scenario; by default the same.
        examples: of `two_stream`: as the experiment's `examples`; by default the same.
        margin: of `per_task`: how much worse than with nothing held a task may be learned, of its score or loss.
        decay: of `per_task`: factor on the strategy's own settings until a task is learned within the margin.
        objectives: metrics on the validation splits of the tasks, not for `per_task`; two or more give a Pareto front.
            By default the mean over tasks after the last one.
        trials: of each study, pruned and failed ones included.
        sampler: `tpe`, `random`, `nsga2` (several objectives) or `grid` (choices alone).
        pruner: `median`, `halving` or `none`: stops a trial after a task, or at a look inside one, by its validation
            loss; so only where the one objective is a mean loss.
        seed: of the sampler, and the only seed that trials train with.
        workers: trials at a time, each in a process of its own.
        storage: URL of Optuna's database; by default SQLite in the store. Several `cl tune` may share one study.
    """

    strategies: list[str] | None = None
    protocol: Literal["first_k", "two_stream", "per_task", "oracle"] = "first_k"
    first: int = 1
    scenario: str | None = None
    tokens: int | dict[str, int] | None = None
    examples: int | dict[str, int] | None = None
    margin: float = 0.2
    decay: float = 0.5
    objectives: list[str] | None = None
    trials: int = 20
    sampler: Literal["tpe", "random", "nsga2", "grid"] = "tpe"
    pruner: Literal["median", "halving", "none"] = "median"
    seed: int = 0
    workers: int = 1
    storage: str | None = None

    def __post_init__(self) -> None:
        for name in ("first", "trials", "workers"):
            if getattr(self, name) < 1:
                raise UserError(f"tune.{name}: {getattr(self, name)} must be at least 1")
        if not 0 < self.decay < 1 or self.margin < 0:
            raise UserError(f"tune: decay {self.decay} must be between 0 and 1, margin {self.margin} at least 0")
        if self.protocol == "per_task" and self.objectives is not None:
            raise UserError("tune.objectives: per_task looks at the task that comes, and at nothing else; remove it")
        if (self.protocol == "two_stream") != (self.scenario is not None):
            raise UserError(f"tune.scenario: {self.scenario} with protocol {self.protocol}; two_stream needs one")
        if self.objectives is not None and len(set(self.objectives)) < max(1, len(self.objectives)):
            raise UserError(f"tune.objectives: {self.objectives} must name different metrics, one or more")


@dataclass(frozen=True)
class Tuned:
    """What `cl tune` has chosen, as its `tuned.yaml` says.

    Args:
        protocol: how.
        about: in a sentence.
        skip: leading tasks that it was chosen on.
        made_for: scenario, model and budgets of the experiment that it was chosen for.
        values: by strategy and by order (`*`: all orders): dotted settings.
    """

    protocol: str
    about: str
    skip: int
    values: dict[str, dict[str, dict[str, Any]]]
    made_for: dict[str, Any]

    def notes(self, labels: Sequence[str], made_for: Mapping[str, Any]) -> list[str]:
        """What every output of a run with these strategies says, of an experiment with this scenario and budgets."""
        text = f"hyperparameters chosen by {self.protocol}: {self.about}"
        found = [f"CHEATING: {text}" if self.protocol == "oracle" else text]
        if untuned := [label for label in labels if label not in self.values]:
            found.append(f"not tuned, with the values of the file: {', '.join(untuned)}")
        for key, value in self.made_for.items():
            if value != made_for[key]:
                found.append(f"hyperparameters were chosen with {key} {value}, and are used with {made_for[key]}")
        return found

    def of(self, label: str, order: str) -> dict[str, Any]:
        """The settings of a strategy in an order. Raises UserError where nothing was chosen for it."""
        own = self.values.get(label)
        if own is None:
            return {}
        if order not in own and "*" not in own:
            raise UserError(f"tuned: nothing was chosen for {label} in the order {order}; run `cl tune` on it")
        return own.get(order, own.get("*", {}))
