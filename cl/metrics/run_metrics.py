"""Metrics of a run: the formulas of `cl.metrics.continual` on the losses (nats per token) or scores of its matrix."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

from cl.metrics import continual
from cl.metrics.continual import Metric
from cl.metrics.curve_metrics import stability_gap
from cl.metrics.records import RunResult

INDEPENDENT = "each task was learned from the base model, so rows do not follow one another"
MERGED = "rows are of merged models, which the curves inside tasks are not of"
BETWEEN_ROWS = ("forgetting", "bwt", "fwt", "adaptation", "x_delta", "min_acc", "wc_acc")

LOWER = (*(key for key in continual.NLL if key.startswith(("op_", "mft_"))), "op_t_nll", "learned_nll", "forgetting",
         "superficial", "essential", "strict_fall")  # fmt: skip
"""Beginnings of the keys whose values are better where they are lower."""

FORGETTING, ADAPTATION = "forgetting/first_nll", "adaptation/nll"


def measure(run: RunResult, key: str) -> Metric:
    """The metric `key` of the run's loss matrix; NaN with a reason where a row that it needs is absent."""
    return every(run)[key]


def every(run: RunResult, retain: Sequence[str] = ()) -> dict[str, Metric]:
    """All metrics of the run's loss matrix by key, with those over the retain sets where they are named."""
    losses = {t: {name: cell.loss for name, cell in row.items()} for t, row in run.matrix.items()}
    matrix = continual.as_matrix(losses, run.order, retain)
    found = continual.summary(matrix, higher_is_better=False, known=run.known)
    if run.independent:
        found |= {key: Metric(key, math.nan, INDEPENDENT) for key in found if key.startswith(BETWEEN_ROWS)}
    return found


def better(key: str) -> Literal["lower", "higher"]:
    """Which end of a metric is the good one."""
    return "lower" if key.startswith(LOWER) else "higher"


def named(run: RunResult, retain: Sequence[str] = ()) -> dict[str, Metric]:
    """All metrics of a run that can be asked for by key: of its losses, and of its strict scores where it has any."""
    return every(run, retain) | (scores(run, retain=retain) if scored(run) else {})


def beyond(run: RunResult, skip: int) -> RunResult:
    """The run as if it had begun behind its first `skip` tasks: they have no column, and row `skip` is row 0."""
    rows = {t - skip: row for t, row in run.matrix.items() if t >= skip}
    return replace(run, order=run.order[skip:], matrix=rows, known=max(0, run.known - skip))


def scored(run: RunResult) -> bool:
    """Whether the run's tasks were scored by what the model answers."""
    cells = [cell for row in run.matrix.values() for name, cell in row.items() if name in run.order]
    return bool(cells) and all(cell.scores for cell in cells)


def scores(run: RunResult, which: str = "strict", retain: Sequence[str] = ()) -> dict[str, Metric]:
    """All metrics of the run's matrix of one score by key (higher is better), and the split of its forgetting."""
    found = continual.summary(_scores(run, which, retain))
    found |= {
        metric.key: metric for metric in continual.forgetting_split(_scores(run, "strict"), _scores(run, "normalised"))
    }
    if run.independent:
        between = (*BETWEEN_ROWS, "superficial", "essential", "strict_fall")
        found |= {key: Metric(key, math.nan, INDEPENDENT) for key in found if key.startswith(between)}
    return found


def score(run: RunResult, key: str) -> Metric:
    """The metric `key` of the run's strict scores."""
    return scores(run)[key]


def probed(run: RunResult) -> Metric:
    """Mean over tasks of the last row's `probing`: what the hidden states still tell apart, whatever the answers."""
    return scores(run, "probing")["op_final"]


def _scores(run: RunResult, which: str, retain: Sequence[str] = ()) -> continual.Matrix:
    rows = {t: {n: c.scores[which] for n, c in row.items() if which in c.scores} for t, row in run.matrix.items()}
    return continual.as_matrix(rows, run.order, retain)


def forgetting(run: RunResult) -> Metric:
    """Mean over earlier tasks i of L[T,i] - L[i,i]: positive where the loss rose."""
    return measure(run, FORGETTING)


def adaptation(run: RunResult) -> Metric:
    """Mean over the tasks i that the run learned of L[i-1,i] - L[i,i]."""
    return measure(run, ADAPTATION)


def peak(run: RunResult) -> Metric:
    """Rise of the loss on earlier tasks at the worst moment between two rows of R: the stability gap.

    Mean over earlier tasks of the largest loss on the validation window after the task's own training, less
    the loss right after it: `min_acc/every_N` of 2205.13452 on negative losses, less its start. The key
    keeps N, the largest number of optimizer steps between two evaluations: a rarer look sees less.
    """
    if run.independent or run.merged:
        return Metric("peak", math.nan, MERGED if run.merged else INDEPENDENT)
    place = {stage.row: index for index, stage in enumerate(run.stages) if stage.row is not None}
    curves = []
    for i, name in enumerate(run.order[:-1], 1):
        if i > run.known and i not in place:
            return Metric("peak", math.nan, f"no stage ends in row {i}")
        # By place in the run, not by tokens: a trunk starts where the one before ended, before its fork ends.
        first = place[i] if i > run.known else -1
        own = run.stages[first].points[-1:] if first >= 0 else []
        later = [point for stage in run.stages[first + 1 :] for point in stage.points]
        curves.append([-p.scores[name] for p in (*own, *later) if name in p.scores])
    found = stability_gap(curves, math.nan, _cadence(run))[0]
    if math.isnan(found.value):
        return Metric(found.key, math.nan, found.reason)
    return Metric(found.key, statistics.fmean(curve[0] for curve in curves) - found.value)


def _cadence(run: RunResult) -> int:
    """Largest number of steps between two points that evaluate."""
    scored = [[point.step for point in stage.points if point.scores] for stage in run.stages]
    return max((b - a for steps in scored for a, b in pairwise(steps)), default=0)
