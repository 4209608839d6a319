"""What an experiment found: the result matrix R, curves, ledgers and costs, as plain data.

The runner fills these records from the store; report and tracking only read them. They hold no model and
no path, go to JSON and come back unchanged, so a report can be drawn again without running anything.
"""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Cell:
    """Score of one data set: sums, never means of batch means.

    nll: summed negative log-likelihood in nats; tokens: number of predicted tokens;
    bytes: UTF-8 bytes that these tokens stand for, at the mean rate of the whole split: a factor that is the
    same for every model of one tokenizer, and within some 2 % of the true one (english_german, 24,576 tokens).
    Of an instruction task only answers are predicted; scores: means over `items` answers, in [0, 1]: `strict` (the
    very form asked for), `normalised` (form forgiven), `format_ok` (has the form, right or wrong); and where it was
    asked for, `probing` (what a linear classifier on the hidden states gets right). A model with a classifier answers
    by it; its nll is still that of the language model.
    """

    nll: float
    tokens: int
    bytes: float
    scores: dict[str, float] = field(default_factory=dict)
    items: int = 0

    @property
    def loss(self) -> float:
        """Nats per token."""
        return self.nll / self.tokens

    @property
    def bits_per_byte(self) -> float:
        """Bits per UTF-8 byte: comparable across tokenizers."""
        return self.nll / self.bytes / math.log(2)

    @property
    def perplexity(self) -> float:
        """exp(loss); inf where that overflows."""
        return math.exp(self.loss) if self.loss < 700 else math.inf


@dataclass(frozen=True)
class Point:
    """One moment inside a train node.

    step: optimizer steps done in this stage (0 = before the first update); tokens: training tokens seen in
    this stage; loss: mean task loss in nats/token since the last point (None at step 0); lr: learning rate
    of the last step; grad_norm: before clipping; seconds: training time of this stage so far, evaluation
    excluded; seen: tokens consumed so far by source; terms: further loss terms by name, and their ratio to
    the task loss under `NAME/ratio`; scores: loss (nats/token) on the fixed validation window, by data set,
    where this point evaluates.
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

    name: e.g. "german"; row: row of R that its end state fills (None for a trunk that is not evaluated);
    offset: tokens of the stream before this stage; seconds: training; eval_seconds: in-task evaluation;
    reused: found in the store when this experiment was last run; warnings: sentences about its data, such as
    rows that were read more than once.
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
class RunResult:
    """One run: scenario x strategy x model x seed x task order.

    matrix[t][name] is R[t, name]: row 0 before any training, row t after t tasks of `order`; a row that the
    strategy does not produce is absent, never zero. `known` counts the leading tasks that the model had
    learned before the run (a pretrained model): rows below `known` are absent. independent: each task was
    learned from the base model, so that the rows are no stream and nothing can be forgotten. merged: rows are of models
    that were merged from the states, while `stages` are of the training that went on without it. made: per data set
    that the strategy's methods transformed, examples and answer tokens by split and style, and the methods' notes.
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


@dataclass(frozen=True)
class ExperimentResult:
    """All runs of an experiment, and what is needed to say exactly where they came from.

    tasks: names in the scenario's own order; retain: names of held-out sets that are never trained on;
    general: of further measured sets, which a strategy may learn from;
    data: per data set a dict with documents, bytes, tokens (by split), overlap, sources, licence;
    asked/executed: train nodes asked for by all runs, and really executed in the last call;
    environment: package versions, git commit, device, precision, threads; command: to type again; notes: sentences that
    every output says, such as how hyperparameters were chosen.
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
    data: dict[str, dict[str, Any]]
    runs: list[RunResult]
    asked: int
    executed: int
    seconds: float
    environment: dict[str, str]
    config: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Write as JSON (NaN is not used anywhere: an absent value is absent)."""
        path.write_text(json.dumps(dataclasses.asdict(self), indent=1, allow_nan=False), encoding="utf-8")

    @staticmethod
    def load(path: Path) -> ExperimentResult:
        """Inverse of `save`."""
        raw = json.loads(path.read_text(encoding="utf-8"))
        return ExperimentResult(**{**raw, "runs": [_run(run) for run in raw["runs"]]})


def _run(raw: dict[str, Any]) -> RunResult:
    stages = [StageResult(**{**s, "points": [Point(**p) for p in s["points"]]}) for s in raw["stages"]]
    matrix = {int(t): {name: Cell(**cell) for name, cell in row.items()} for t, row in raw["matrix"].items()}
    keys = {int(t): key for t, key in raw["matrix_keys"].items()}
    return RunResult(**{**raw, "stages": stages, "matrix": matrix, "matrix_keys": keys})
