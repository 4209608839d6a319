"""Groups of runs: all seeds of one strategy in one task order are one line, one colour and one table row."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from cl.metrics.records import ExperimentResult, Point, RunResult, StageResult
from cl.metrics.run_metrics import scored
from cl.reporting.html.style import DASHES, PALETTE, REFERENCE


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: runs hold lists
class Group:
    """The runs of one strategy in one task order, one per seed.

    Args:
        label: name in pictures and tables.
        order: the task order.
        runs: one run per seed.
        colour: colour of the strategy.
        dash: dash style of lines.
    """

    label: str
    order: tuple[str, ...]
    runs: tuple[RunResult, ...]
    colour: str
    dash: str

    @property
    def reference(self) -> bool:
        """Whether the group is no stream (all tasks at once, or each alone) and so takes no part in the ranking."""
        return is_reference(self.runs[0])

    @property
    def merged(self) -> bool:
        """Whether the rows of R are of merged models, which have no curve during training."""
        return self.runs[0].merged

    @property
    def summary(self) -> str:
        """The strategy in one sentence."""
        return self.runs[0].summary


@dataclass(frozen=True)
class Line:
    """One stage of a group as a curve over the tokens of the whole stream; NaN where a seed has no value.

    Args:
        keys: node keys of the stage, one per seed.
        x: tokens.
        mean: mean over seeds.
        low: smallest seed.
        high: largest seed.
    """

    keys: frozenset[str]
    x: list[float]
    mean: list[float]
    low: list[float]
    high: list[float]


def is_reference(run: RunResult) -> bool:
    """Whether one stage learned several tasks at once, or each task was learned from the base model."""
    last = run.stages[0].row if len(run.stages) == 1 else None
    return run.independent or (last is not None and last - run.known > 1)


def groups(result: ExperimentResult) -> list[Group]:
    """Group the runs by strategy and order, in order of appearance; a strategy has one colour everywhere."""
    found: dict[tuple[str, tuple[str, ...]], list[RunResult]] = {}
    for run in result.runs:
        found.setdefault((run.strategy, tuple(run.order)), []).append(run)
    contenders = list(dict.fromkeys(name for (name, _), runs in found.items() if not is_reference(runs[0])))
    orders = list(dict.fromkeys(order for _, order in found))
    made = []
    for (strategy, order), runs in found.items():
        joint = is_reference(runs[0])
        colour = REFERENCE if joint else PALETTE[contenders.index(strategy) % len(PALETTE)]
        turn = orders.index(order) if len(orders) > 1 else 0 if joint else contenders.index(strategy) // len(PALETTE)
        label = strategy if len(orders) == 1 else f"{strategy} ({' → '.join(order)})"
        made.append(Group(label, order, tuple(runs), colour, "dash" if joint else DASHES[turn % len(DASHES)]))
    return made


def lines(group: Group, value: Callable[[Point], float | None]) -> list[Line]:
    """One line per stage: mean, smallest and largest seed of `value`, interpolated to the tokens of all seeds."""
    longest = max(len(run.stages) for run in group.runs)
    by_position = [[run.stages[i] for run in group.runs if i < len(run.stages)] for i in range(longest)]
    return [line for stages in by_position if (line := _line(stages, value)) is not None]


def any_shared(every: Sequence[Group]) -> bool:
    """Whether a stage belongs to several groups."""
    keys = [key for group in every for key in {stage.key for run in group.runs for stage in run.stages}]
    return len(set(keys)) < len(keys)


def final_row(run: RunResult) -> int:
    """The last row of R of a run; 0 if it has none."""
    return max(run.matrix, default=0)


def loss_at(group: Group, row: int, name: str) -> float:
    """Mean over seeds of R[row, name] in nats/token; NaN if a seed lacks the cell."""
    cells = [run.matrix.get(row, {}).get(name) for run in group.runs]
    return mean([math.nan if cell is None else cell.loss for cell in cells])


def score_at(group: Group, row: int, name: str, which: str = "strict") -> float:
    """Mean over seeds of a score of R[row, name] in [0, 1]; NaN if a seed lacks the cell."""
    cells = [run.matrix.get(row, {}).get(name) for run in group.runs]
    return mean([math.nan if cell is None else cell.scores.get(which, math.nan) for cell in cells])


def is_scored(result: ExperimentResult) -> bool:
    """Whether every task of every run was scored by the model's answers."""
    return all(scored(run) for run in result.runs)


def mean(values: Sequence[float]) -> float:
    """Mean; NaN of an empty list."""
    return statistics.fmean(values) if values else float("nan")


def _line(stages: Sequence[StageResult], value: Callable[[Point], float | None]) -> Line | None:
    """The line of one stage; None if no seed has a value."""
    curves = []
    for stage in stages:
        pairs = [(stage.offset + p.tokens, v) for p in stage.points if (v := value(p)) is not None]
        if pairs:
            curves.append(np.array(pairs, dtype=float))
    if not curves:
        return None
    x = np.unique(np.concatenate([curve[:, 0] for curve in curves]))
    y = np.stack([np.interp(x, c[:, 0], c[:, 1], left=np.nan, right=np.nan) for c in curves])
    keys = frozenset(stage.key for stage in stages)
    return Line(keys, x.tolist(), y.mean(0).tolist(), y.min(0).tolist(), y.max(0).tolist())
