"""The experiment file: the strategies to compare, the scenario, the model and the budgets.

An experiment is YAML; every value can be replaced on the command line (`--train.lr=1e-3`,
`--tokens.german=200000`). Types are checked by jsonargparse; unknown keys are errors.
"""

from __future__ import annotations

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
from cl.plain_values import SEEDS, require_amount, require_file_name, require_path

MOST_RUNS = 1000
"""Seeds of an experiment; a larger number is a mistake, and planning it takes minutes."""


@dataclass(frozen=True)
class Experiment:
    """An experiment: one run for each strategy, seed and task order.

    Args:
        name: name of the experiment in MLflow and in the store; by default the name of the file.
        question: question that the experiment asks; the title of the report.
        scenario: scenario by name or YAML path.
        model: model that learns.
        strategies: strategies by label; each entry replaces settings of a named strategy. The label is that name,
            unless `from: NAME` states another one; each key is a method's name and holds settings of the method.
        tokens: training tokens of each text task: one number for all tasks, or a number per task.
        examples: training examples of each instruction task, counted with repetitions: one number for all tasks, or a
            number per task.
        strategy: settings by method name, for every strategy that has the method; they override `strategies`.
        by_task: settings for single tasks, such as `german: {train: {lr: 1.0e-4}}`. Allowed are `train.lr`,
            `weight_decay`, `betas`, `eps`, `clip`, `sequence`, `batch` and `micro_batch`, and in `strategy` and
            `strategies` the settings of methods that act inside training or mix data.
        seeds: random seeds; each seed makes its own runs and sets the initial weights and the reading order.
        orders: task orders, each a name in the scenario or a list of tasks; or `all`, `latin_square`, or
            `{sample: N, seed: S}` for N random orders; by default the order in the scenario.
        train: how each stage is trained.
        evaluation: what is measured.
        probes: further measurements of the state at each row of R: settings by name of the probe (`cl.probes`).
        probe_steps: optimizer steps inside each stage after which the probes measure too, such as [1, 3, 10, 30];
            train nodes store these states, so stages that were trained without them are trained again.
        checkpoints: when unfinished work is saved.
        order: what `cl order` estimates, and how.
        compare: what `cl compare` tests.
        tune: how `cl tune` chooses hyperparameters.
        tuned: path of a tuned.yaml that `cl tune` wrote; its values are set for each strategy and task order.
        upto: run only this many leading tasks of each order; by default all.
        tracking: where runs are logged.
        launcher: where nodes are executed: `local` in this process, `ray` on a Ray cluster, `slurm` as Slurm jobs.
        fail_fast: end the run at the first node that breaks (`--fail-fast`); by default a node that breaks stops what
            stands on it, and the others are computed and reported.
        cluster: resources for the launchers `ray` and `slurm`.
        store: folder or fsspec URL of the node store.
        output: folder of reports; each experiment has its own folder in it.
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
    probe_steps: list[int] = field(default_factory=list)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    order: SampleOrder = field(default_factory=SampleOrder)
    compare: Compare = field(default_factory=Compare)
    tune: Tune = field(default_factory=Tune)
    tuned: Tuned | None = None
    upto: int | None = None
    tracking: Tracking = field(default_factory=Tracking)
    launcher: str = "local"
    fail_fast: bool = False
    cluster: Cluster = field(default_factory=Cluster)
    store: str = "store"
    output: str = "results"

    def __post_init__(self) -> None:
        for key, name in (("name", self.name), *(("strategies", label) for label in self.strategies)):
            require_file_name(name, key)
        for key in ("scenario", "store", "output"):
            require_path(getattr(self, key), key)
        for key, amount in (("tokens", self.tokens), ("examples", self.examples)):
            require_amount(amount, key)
        if not self.strategies:
            raise UserError("strategies: is empty; list at least one (`cl list strategies` names them)")
        if not self.seeds or min(self.seeds) < 0 or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds: {self.seeds} must be different whole numbers of at least 0, one or more")
        if len(self.seeds) > MOST_RUNS or max(self.seeds) >= SEEDS:
            raise UserError(f"seeds: {self.seeds} must be at most {MOST_RUNS} numbers below {SEEDS}")
        if self.upto is not None and self.upto < 1:
            raise UserError(f"upto: {self.upto} must be at least 1; leave it out for the whole stream")
        if self.tuned is not None:
            self.tuned.check()
        if self.upto is not None and self.tuned is not None:
            raise UserError("upto: tuned values were chosen for whole orders; leave upto or tuned out")
        if self.orders == []:
            raise UserError("orders: is empty; leave it out for the scenario's own order")
        if self.probe_steps != sorted({step for step in self.probe_steps if step > 0}):
            raise UserError(f"probe_steps: {self.probe_steps} must be different steps above 0, the smallest first")
        if self.probe_steps and not self.probes:
            raise UserError("probe_steps: has no effect without probes; name some, or leave it out")
        if isinstance(self.orders, dict) and ("sample" not in self.orders or self.orders.keys() - {"sample", "seed"}):
            raise UserError(f"orders: {self.orders} is not understood; write {{sample: N}} or {{sample: N, seed: S}}")
        if isinstance(self.orders, list) and len(set(map(str, self.orders))) < len(self.orders):
            raise UserError(f"orders: {self.orders} holds one order twice; remove one")


def made_for(experiment: Experiment) -> dict[str, Any]:
    """Scenario, model and budgets, which chosen hyperparameters are valid for."""
    given = {"tokens": experiment.tokens, "examples": experiment.examples}
    return {"scenario": Path(experiment.scenario).stem, "model": experiment.model.name, **given}


def notes(experiment: Experiment) -> list[str]:
    """Sentences for every output: how hyperparameters were chosen and for what, and how answers were asked for."""
    tuned = experiment.tuned
    chosen = tuned.notes(list(experiment.strategies), made_for(experiment)) if tuned else []
    return [*chosen, *experiment.evaluation.notes()]
