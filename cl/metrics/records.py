"""Results of an experiment as plain data: the result matrix R, curves, ledgers and costs.

`cl.execution.collect` fills these records from the store; reports and tracking only read them. They hold no model and
no path and survive a round trip through JSON, so a report can be drawn again without running anything.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from cl.metrics import memories
from cl.metrics.certificate import Certificate


@dataclass(frozen=True)
class Measure:
    """One figure that a probe measures per data set (`cl.probes.probe`).

    Args:
        key: short name.
        direction: which values are better; `neither` for a figure that describes the data.
        unit: of the figure.
        about: one sentence for the report.
        chance: value that says that nothing was found; None: it depends on the data.
        apart: draw the task that was just learned and the sets outside of the stream apart, instead of one mean.
        axes: pairs of axes over which the report draws heat maps. An axis is a word in the names of data sets with a
            number behind it, such as `copies` of `copies 16 phase 2`, or the key of another measure.
        null: key of the measure that is the half-width of the 95 % interval around `chance`.
    """

    key: str
    direction: Literal["lower", "higher", "neither"]
    unit: str
    about: str
    chance: float | None = None
    apart: bool = False
    axes: tuple[tuple[str, str], ...] = ()
    null: str | None = None


@dataclass(frozen=True)
class Cell:
    """Evaluation of one data set: one cell of R. Losses are sums, never means of batch means.

    Only the answers of an instruction task are predicted. A model with a classifier answers by its classifier, but its
    `nll` is the language model's.

    Args:
        nll: summed negative log-likelihood in nats.
        tokens: number of predicted tokens.
        bytes: UTF-8 bytes of these tokens, from the mean bytes per token of the whole split. The estimate is the same
            for all models of one tokenizer, and within 2 % of the true number (english_german, 24,576 tokens).
        scores: means over `items` answers, in [0, 1]: `strict` (the answer in the form that was asked for),
            `normalised` (any form), `format_ok` (the form, right or wrong).
        items: number of scored answers.
        orders: largest number of orders of the options that a score is the mean of (`evaluation.choice_orders`).
        repeated: how often a question stood in its prompt (`evaluation.repeat_context`).
        harness: versions of the harness and of its task, where the harness measured the set. Such a cell has scores and
            no loss: its loss is NaN.
    """

    nll: float = math.nan
    tokens: int = 0
    bytes: float = 0.0
    scores: dict[str, float] = field(default_factory=dict)
    items: int = 0
    orders: int = 1
    repeated: int = 1
    harness: str = ""

    @property
    def loss(self) -> float:
        """Mean loss in nats per token; NaN without tokens."""
        return self.nll / self.tokens if self.tokens else math.nan

    @property
    def bits_per_byte(self) -> float:
        """Mean loss in bits per UTF-8 byte, which is comparable across tokenizers."""
        return self.nll / self.bytes / math.log(2) if self.bytes else math.nan

    @property
    def perplexity(self) -> float:
        """exp(loss); inf if that overflows."""
        return math.inf if self.loss >= 700 else math.exp(self.loss)


@dataclass(frozen=True)
class Point:
    """One point of the curve of a train node.

    Args:
        step: optimizer steps done in this stage (0 = before the first update).
        tokens: training tokens of this stage so far.
        seconds: training time of this stage so far, without evaluation.
        loss: mean task loss in nats/token since the last point; None at step 0.
        lr: learning rate of the last step.
        grad_norm: norm of the gradient before clipping.
        seen: tokens so far by source.
        terms: further loss terms by name, and their ratio to the task loss under `NAME/ratio`.
        scores: loss in nats/token on the fixed validation window, by data set; empty if this point does not evaluate.
    """

    step: int
    tokens: int
    seconds: float
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    seen: dict[str, int] = field(default_factory=dict)
    terms: dict[str, float] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class StageResult:
    """One train node of a run.

    Args:
        name: name of the stage, such as "german".
        key: key of the node.
        row: row of R that its end state fills; None for a trunk that is not evaluated.
        offset: tokens of the stream before this stage.
        tokens: trained tokens.
        seconds: training time.
        eval_seconds: time of evaluation during training.
        reused: whether the node was in the store when this experiment was last run.
        points: the curve.
        seen: trained tokens by source.
        warnings: sentences about its data, such as rows that were read more than once.
    """

    name: str
    key: str
    row: int | None
    offset: int
    tokens: int
    seconds: float
    eval_seconds: float
    reused: bool
    points: list[Point]
    seen: dict[str, int]
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Inside:
    """The figures of a probe on a state inside a stage.

    Args:
        label: label of the probe.
        row: row of R that the stage fills.
        step: optimizer step of the stage; None: its end, which is the row.
        sets: figures by data set and key of a measure.
    """

    label: str
    row: int
    step: int | None
    sets: dict[str, dict[str, float]]


@dataclass(frozen=True)
class RunResult:
    """One run: scenario x strategy x model x seed x task order.

    Args:
        strategy: label of the strategy.
        summary: the strategy in one line.
        settings: of each method, its name and settings.
        seed: the seed.
        order: names of the tasks in the order in which they were learned.
        known: number of leading tasks that a pretrained model had learned before the run; rows below are absent.
        key: key of the run: the hash of all nodes that it needs.
        stages: its train nodes.
        matrix: `matrix[t][name]` is R[t, name]: row 0 before any training, row t after t tasks. A row that the strategy
            does not produce is absent, never zero.
        matrix_keys: by t, the key of the node that evaluated the row.
        independent: whether each task was learned from the base model. Then rows do not follow one another, and
            nothing can be forgotten.
        merged: whether rows are of merged models. `stages` are of the training, which does not use merged models.
        made: of each data set that methods transformed, examples and answer tokens by split and style, and notes.
        probes: `probes[label][t][name]` holds the figures of a probe on the state of row t, by the key of a measure.
        inside: figures of the probes on states inside the stages.
        answers: `answers[t][name][score]` holds one character per question of a set in row t: 1 right, 0 wrong. Scores
            with other values than 0 and 1 are absent.
        options: number of answers among which a guess chooses, by set (`cl.metrics.transitions.options`); a set of
            free answers is absent.
        gates: by stage t, the certificate of its gate, if it is gated; row t is of the state that was promoted.
        memory: `memory[t][name]` holds the figures of the memory that row t shows to a set (`cl.metrics.memories`).
    """

    strategy: str
    summary: str
    settings: list[dict[str, Any]]
    seed: int
    order: list[str]
    known: int
    key: str
    stages: list[StageResult]
    matrix: dict[int, dict[str, Cell]]
    matrix_keys: dict[int, str]
    independent: bool = False
    merged: bool = False
    made: dict[str, dict[str, Any]] = field(default_factory=dict)
    probes: dict[str, dict[int, dict[str, dict[str, float]]]] = field(default_factory=dict)
    inside: list[Inside] = field(default_factory=list)
    answers: dict[int, dict[str, dict[str, str]]] = field(default_factory=dict)
    options: dict[str, float] = field(default_factory=dict)
    gates: dict[int, Certificate] = field(default_factory=dict)
    memory: dict[int, dict[str, dict[str, float]]] = field(default_factory=dict)

    @property
    def warnings(self) -> list[str]:
        """Sentences about the data of the stages and about the memory beside the weights, each once."""
        told = [text for stage in self.stages for text in stage.warnings]
        measured = list(dict.fromkeys(name for row in self.matrix.values() for name in row))
        return list(dict.fromkeys([*told, *memories.warnings(self.strategy, self.memory, measured)]))


@dataclass(frozen=True)
class DataResult:
    """A data set.

    Args:
        documents: number of documents by split.
        bytes: UTF-8 bytes by split.
        tokens: number of tokens by split.
        sources: one line about each source.
        licence: licences of the sources.
        overlap: share of the test text that occurs in the training text; None: not measured.
        duplicates: number of duplicates that were dropped.
        held_out: number of documents dropped because another source states their question as test or validation.
        fingerprint: hash of all that decides the documents of each split.
        example: beginning of a document.
    """

    documents: dict[str, int]
    bytes: dict[str, int]
    tokens: dict[str, int]
    sources: list[str]
    licence: str
    overlap: float | None = None
    duplicates: int = 0
    held_out: int = 0
    fingerprint: str = ""
    example: str = ""


@dataclass(frozen=True)
class ExperimentResult:
    """All runs of an experiment and their provenance.

    Args:
        name: name of the experiment.
        question: the question that it answers.
        command: command line that runs it again.
        scenario: name of the scenario.
        scenario_version: version of the scenario.
        model: name of the model.
        parameters: number of parameters.
        tasks: names of the tasks in the order of the scenario.
        retain: names of held-out sets, which are never trained on.
        general: names of further evaluated sets, which a strategy may learn from.
        data: of each data set, its size, sources and licence.
        runs: all runs.
        asked: number of train nodes that the runs need.
        executed: number of train nodes that were executed in the last call.
        seconds: wall-clock time of the last call.
        environment: package versions, git commit, device, precision, threads.
        config: the experiment's settings.
        notes: sentences that every output repeats, such as how hyperparameters were chosen.
        probes: by label, what each probe measures.
    """

    name: str
    question: str
    command: str
    scenario: str
    scenario_version: int
    model: str
    parameters: int
    tasks: list[str]
    retain: list[str]
    general: list[str]
    data: dict[str, DataResult]
    runs: list[RunResult]
    asked: int
    executed: int
    seconds: float
    environment: dict[str, str]
    config: dict[str, Any]
    notes: list[str] = field(default_factory=list)
    probes: dict[str, list[Measure]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Write as JSON. No value is NaN: an undefined value is absent."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> ExperimentResult:
        """Read a file that `save` wrote."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        probes = {label: [_measure(each) for each in found] for label, found in raw.get("probes", {}).items()}
        data = {name: DataResult(**entry) for name, entry in raw["data"].items()}
        runs = [_run(run) for run in raw["runs"]]
        return ExperimentResult(**{**raw, "runs": runs, "probes": probes, "data": data})


def _measure(raw: dict[str, Any]) -> Measure:
    return Measure(**{**raw, "axes": tuple((one, other) for one, other in raw.get("axes", ()))})


def _run(raw: dict[str, Any]) -> RunResult:
    stages = [StageResult(**{**s, "points": [Point(**p) for p in s["points"]]}) for s in raw["stages"]]
    matrix = {int(t): {name: Cell(**cell) for name, cell in row.items()} for t, row in raw["matrix"].items()}
    keys = {int(t): key for t, key in raw["matrix_keys"].items()}
    answers = {int(t): row for t, row in raw.get("answers", {}).items()}
    probes = {label: {int(t): found for t, found in rows.items()} for label, rows in raw.get("probes", {}).items()}
    inside = [Inside(**each) for each in raw.get("inside", [])]
    gates = {int(t): Certificate.of_json(found) for t, found in raw.get("gates", {}).items()}
    memory = {int(t): found for t, found in raw.get("memory", {}).items()}
    by_row = {"matrix": matrix, "matrix_keys": keys, "probes": probes, "answers": answers, "gates": gates}
    return RunResult(**{**raw, "stages": stages, "inside": inside, "memory": memory, **by_row})
