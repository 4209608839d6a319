"""Metrics of a run: the declared formulas on the losses (nats/token) or scores of its result matrix."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

from cl.metrics.catalog import evaluate, find
from cl.metrics.curve_metrics import stability_gap
from cl.metrics.formula import Better, Metric
from cl.metrics.records import Cell, RunResult
from cl.metrics.result_matrix import ResultMatrix, as_matrix

INDEPENDENT = "each task was learned from the base model, so rows do not follow one another"
MERGED = "rows are of merged models, which the curves inside tasks are not of"
FORGETTING, ADAPTATION = "forgetting/first_nll", "adaptation/nll"


def better(key: str) -> Better:
    """Which end of the metric's scale is better. Raises UserError for an unknown key."""
    return find(key).better


def measure(run: RunResult, key: str) -> Metric:
    """One metric of the run's losses; NaN with a reason if a row that it needs is absent."""
    return every(run)[key]


def score(run: RunResult, key: str) -> Metric:
    """One metric of the run's strict scores."""
    return scores(run)[key]


def every(run: RunResult, retain: Sequence[str] = ()) -> dict[str, Metric]:
    """All metrics of the run's losses, by key.

    Args:
        run: the run.
        retain: names of the retained sets.
    """
    return _evaluated(run, _losses(run, retain))


def scores(run: RunResult, which: str = "strict", retain: Sequence[str] = ()) -> dict[str, Metric]:
    """All metrics of one score of the run, and those of its strict and normalised scores, by key.

    Args:
        run: the run.
        which: name of the score: `strict`, `normalised` or `format_ok`.
        retain: names of the retained sets.
    """
    return _evaluated(run, _scores(run, which, retain))


def named(run: RunResult, retain: Sequence[str] = (), keys: Iterable[str] = ()) -> dict[str, Metric]:
    """All metrics of a run by key: of its losses, and of its strict scores if its tasks were scored.

    Args:
        run: the run.
        retain: names of the retained sets.
        keys: keys of further metrics, `package.module:NAME`.
    """
    return _evaluated(run, _losses(run, retain) | (_scores(run, "strict", retain) if scored(run) else {}), keys)


def forgetting(run: RunResult) -> Metric:
    """Mean over tasks i < T of L[T,i] - L[i,i] in nats/token: positive where the loss rose."""
    return measure(run, FORGETTING)


def adaptation(run: RunResult) -> Metric:
    """Mean over the tasks i that the run learned of L[i-1,i] - L[i,i] in nats/token."""
    return measure(run, ADAPTATION)


def beyond(run: RunResult, skip: int) -> RunResult:
    """The run without its first `skip` tasks: they have no column, and row `skip` becomes row 0."""
    rows = {t - skip: row for t, row in run.matrix.items() if t >= skip}
    skipped = set(run.order[:skip])
    answers = {
        t - skip: {name: rights for name, rights in row.items() if name not in skipped}
        for t, row in run.answers.items()
        if t >= skip
    }
    return replace(run, order=run.order[skip:], matrix=rows, answers=answers, known=max(0, run.known - skip))


def scored(run: RunResult) -> bool:
    """Whether the run's tasks were scored by the model's answers."""
    cells = [cell for row in run.matrix.values() for name, cell in row.items() if name in run.order]
    return bool(cells) and all(cell.scores for cell in cells)


def peak(run: RunResult) -> Metric:
    """The stability gap: how far the loss on earlier tasks rises at its worst moment between two rows of R.

    Mean over earlier tasks of the largest loss on the validation window after the task's own training, minus the loss
    right after it, in nats/token: `min_acc/every_N` (2205.13452) on negated losses, subtracted from its start. N in the
    key is the largest number of optimizer steps between two evaluations; rarer evaluations miss more of the gap.
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
        after = run.stages[first + 1 :]
        if not any(name in point.scores for stage in after for point in stage.points[1:]):
            return Metric("peak", math.nan, f"{name} was not evaluated inside of later stages")
        later = [point for stage in after for point in stage.points]
        curves.append([-p.scores[name] for p in (*own, *later) if name in p.scores])
    found = stability_gap(curves, math.nan, _cadence(run))[0]
    if math.isnan(found.value):
        return Metric(found.key, math.nan, found.reason)
    return Metric(found.key, statistics.fmean(curve[0] for curve in curves) - found.value)


def _cadence(run: RunResult) -> int:
    """Largest number of steps between two points that evaluate."""
    evaluated = [[point.step for point in stage.points if point.scores] for stage in run.stages]
    return max((b - a for steps in evaluated for a, b in pairwise(steps)), default=0)


def _evaluated(run: RunResult, inputs: Mapping[str, ResultMatrix], keys: Iterable[str] = ()) -> dict[str, Metric]:
    """Values of all metrics of these matrices; undefined if the metric compares rows that do not follow one another."""
    found = evaluate(inputs, keys)
    if run.independent:
        found |= {key: Metric(key, math.nan, INDEPENDENT) for key in found if find(key).compares_rows}
    return found


def _losses(run: RunResult, retain: Sequence[str]) -> dict[str, ResultMatrix]:
    losses = {t: {name: cell.loss for name, cell in row.items()} for t, row in run.matrix.items()}
    return {"losses": ResultMatrix(as_matrix(losses, run.order, retain), run.known)}


def _scores(run: RunResult, which: str, retain: Sequence[str]) -> dict[str, ResultMatrix]:
    """The matrix of one score as `scores`, with those of the strict and the normalised score."""

    def matrix(score: str) -> ResultMatrix:
        rows = {t: _of(row, score) for t, row in run.matrix.items()}
        return ResultMatrix(as_matrix(rows, run.order, retain), run.known)

    return {"scores": matrix(which), "strict": matrix("strict"), "normalised": matrix("normalised")}


def _of(row: Mapping[str, Cell], score: str) -> dict[str, float]:
    return {name: cell.scores[score] for name, cell in row.items() if score in cell.scores}
