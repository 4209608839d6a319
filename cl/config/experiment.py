"""The experiment file: what is compared, on which scenario, with which model and budget.

An experiment is YAML; every value can be replaced on the command line (`--train.lr=1e-3`,
`--tokens.german=200000`). Types are checked by jsonargparse; unknown keys are errors.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cl.config.checkpoints import Checkpoints
from cl.config.compare import Compare
from cl.config.evaluation import Evaluation
from cl.config.model import Model
from cl.config.runtime import Cluster, Tracking
from cl.config.sample_order import SampleOrder
from cl.config.train import Train
from cl.config.tune import Tune, Tuned
from cl.errors import UserError


@dataclass(frozen=True)
class Experiment:
    """Runs that are compared: strategies x seeds x orders.

    Args:
        name: of the experiment, in MLflow and in the store; by default that of the file.
        question: what it asks; the title of the report.
        scenario: name or YAML path.
        model: which model.
        strategies: by label: settings on top of a named strategy. `from: NAME` names it where the label does
            not; a method's name holds settings that replace its own.
        tokens: training tokens of each task of text: one number, or one by task.
        examples: training examples of each instruction task, repetitions counted: one number, or one by task.
        strategy: by method name: settings for every strategy above that has the method, whatever its entry says.
        by_task: settings that hold while one task is learned, as `german: {train: {lr: 1.0e-4}}`: of `train` the rates
            and bounds, of `strategy` and `strategies` what acts inside training or mixes data.
        seeds: each makes its own runs; a seed sets initial weights and reading order.
        orders: task orders: each one's name in the scenario, or a list of its tasks; or `all`, `latin_square`, or
            `{sample: N, seed: S}`, N drawn at random; by default the scenario's own.
        train: how stages are trained.
        evaluation: what is measured.
        probes: by name: what else is measured on the state of each row of R, with settings (`cl.probes`).
        checkpoints: when unfinished work is saved.
        order: what `cl order` estimates, and how.
        compare: what `cl compare` tests.
        tune: how `cl tune` chooses hyperparameters.
        tuned: what it chose: path of its tuned.yaml; each strategy and order then has its own values.
        upto: run only so many leading tasks of each order.
        tracking: where it is logged.
        launcher: where nodes are executed: `local`, in this process; `ray`, on a cluster; `slurm`, as jobs.
        cluster: what `ray` and `slurm` run on.
        store: folder or fsspec URL of the node store.
        output: folder of reports; each experiment has its own folder there.
    """

    name: str
    scenario: str
    model: Model
    strategies: dict[str, dict[str, Any] | None]
    tokens: int | dict[str, int] = field(default_factory=dict)
    examples: int | dict[str, int] = field(default_factory=dict)
    strategy: dict[str, dict[str, Any]] = field(default_factory=dict)
    by_task: dict[str, dict[str, Any]] = field(default_factory=dict)
    question: str = ""
    seeds: list[int] = field(default_factory=lambda: [0])
    orders: list[list[str] | str] | Literal["all", "latin_square"] | dict[str, int] | None = None
    train: Train = field(default_factory=Train)
    evaluation: Evaluation = field(default_factory=Evaluation)
    probes: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    order: SampleOrder = field(default_factory=SampleOrder)
    compare: Compare = field(default_factory=Compare)
    tune: Tune = field(default_factory=Tune)
    tuned: Tuned | None = None
    upto: int | None = None
    tracking: Tracking = field(default_factory=Tracking)
    launcher: str = "local"
    cluster: Cluster = field(default_factory=Cluster)
    store: str = "store"
    output: str = "results"

    def __post_init__(self) -> None:
        for key, name in (("name", self.name), *(("strategies", label) for label in self.strategies)):
            if not re.fullmatch(r"\w[\w.\-]*", name):
                raise UserError(f"{key}: {name!r} names files and may hold letters, digits, _ - and . only")
        if not self.strategies:
            raise UserError("strategies: is empty; list at least one (`cl list strategies` names them)")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds: {self.seeds} must be different whole numbers of at least 0, one or more")
        if self.upto is not None and self.upto < 1:
            raise UserError(f"upto: {self.upto} must be at least 1; leave it out for the whole stream")
        if self.upto is not None and self.tuned is not None:
            raise UserError("upto: values were chosen for whole orders; leave upto or tuned out")
        if self.orders == []:
            raise UserError("orders: is empty; leave it out for the scenario's own order")
        if isinstance(self.orders, dict) and ("sample" not in self.orders or self.orders.keys() - {"sample", "seed"}):
            raise UserError(f"orders: {self.orders} is not understood; write {{sample: N}} or {{sample: N, seed: S}}")
        if isinstance(self.orders, list) and len(set(map(str, self.orders))) < len(self.orders):
            raise UserError(f"orders: {self.orders} holds one order twice; remove one")


def made_for(experiment: Experiment) -> dict[str, Any]:
    """Scenario, model and budgets: what hyperparameters are chosen for."""
    given = {"tokens": experiment.tokens, "examples": experiment.examples}
    return {"scenario": Path(experiment.scenario).stem, "model": experiment.model.name, **given}


def notes(experiment: Experiment) -> list[str]:
    """Sentences that every output says: how hyperparameters were chosen, and for what."""
    tuned = experiment.tuned
    return tuned.notes(list(experiment.strategies), made_for(experiment)) if tuned else []
