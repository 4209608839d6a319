"""The table of strategies, computed once for the page and the terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from rich.table import Table as RichTable
from rich.text import Text

from cl.metrics.formula import Metric
from cl.metrics.probed import drawn
from cl.metrics.records import Cell, ExperimentResult, RunResult
from cl.metrics.run_metrics import ADAPTATION, FORGETTING, adaptation, better, forgetting, peak, score
from cl.reporting.formatting import abbreviated, duration
from cl.reporting.html.groups import Group, final_row, groups, is_scored, mean
from cl.reporting.html.memories import figures_at

Better = Literal["lower", "higher", "neither"]

SCORE_METRICS = {
    "MFT": "mft",
    "MFN": "op_final",
    "MAA": "op_mean",
    "BWT": "bwt/T-1",
    "superficial": "superficial",
    "essential": "essential",
}
"""Titles of columns and the keys of their metrics."""


@dataclass(frozen=True)
class Column:
    """One column.

    Args:
        title: title.
        unit: unit, printed under the title.
        better: which end is marked as best.
        short: title in a narrow terminal.
        wide: left out in a narrow terminal.
    """

    title: str
    unit: str
    better: Better
    short: str = ""
    wide: bool = False


@dataclass(frozen=True)
class Value:
    """One cell.

    Args:
        number: the value.
        text: the value as text.
        detail: lines printed small below it.
        note: why the value is undefined, or how it was measured.
        best: whether it is the best of its column.
    """

    number: float
    text: str
    detail: tuple[str, ...] = ()
    note: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    """One group with one value per column."""

    group: Group
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Strategies:
    """The table of strategies."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def strategies(result: ExperimentResult) -> Strategies:
    """Final losses, forgetting, adaptation and costs of every group, best values marked.

    Numbers are means over seeds; "±" is half the distance between the smallest and the largest seed. References are
    never marked, and a column with fewer than two contenders has no mark.
    """
    measures = _by_score(result) if is_scored(result) else _by_loss(result)
    measures += _by_harness(result)
    measures += _by_probe(result)
    measures += _by_memory(result)
    measures += [
        (Column("tokens", "trained", "neither", wide=True), partial(_cost, measure=_tokens, show=abbreviated)),
        (Column("time", "training", "neither"), partial(_cost, measure=_seconds, show=duration)),
        (
            Column("eval", "of time", "neither", wide=True),
            partial(_cost, measure=_evaluation_share, show="{:.0%}".format),
        ),
    ]
    every = groups(result)
    marked = [_mark(column, every, [measure(group) for group in every]) for column, measure in measures]
    rows = tuple(Row(group, tuple(values[i] for values in marked)) for i, group in enumerate(every))
    return Strategies(tuple(column for column, _ in measures), rows)


Measures = list[tuple[Column, Callable[[Group], Value]]]


def _by_loss(result: ExperimentResult) -> Measures:
    """Columns for results without scores: final losses, forgetting and adaptation."""
    found: Measures = [(Column(name, "nats/token", "lower"), partial(_final, names=[name])) for name in result.tasks]
    found.append((Column("mean of tasks", "nats/token", "lower", "mean"), partial(_final, names=result.tasks)))
    for role, names in (("retain", result.retain), ("general", result.general)):
        found += [(Column(name, role, "lower", wide=True), partial(_final, names=[name])) for name in names]
    return [
        *found,
        (Column("forgetting", "first_nll", better(FORGETTING), "forgot"), _forgetting),
        (Column("adaptation", "nll", better(ADAPTATION), "adapted", wide=True), partial(_metric, formula=adaptation)),
    ]


def _by_score(result: ExperimentResult) -> Measures:
    """Columns for scored results: final strict scores with the normalised score below, and the metrics of SEFE."""
    found: Measures = [
        (Column(name, "strict", "higher", wide=True), partial(_score, name=name)) for name in result.tasks
    ]
    for title, key in SCORE_METRICS.items():
        found.append((Column(title, key, better(key)), partial(_metric, formula=partial(score, key=key))))
    return found


def _by_memory(result: ExperimentResult) -> Measures:
    """Columns for memories beside the weights: what is stored at the end, and what is read before an answer."""
    if not any(run.memory for run in result.runs):
        return []
    return [
        (Column("memory", "bytes", "neither", wide=True), _stored),
        (Column("read", "tokens", "neither", wide=True), _read),
    ]


def _by_harness(result: ExperimentResult) -> Measures:
    """A column per metric of each set of the harness; which end is better is the harness's to say."""
    rows = (row for run in result.runs for row in run.matrix.values())
    found = {(name, key): None for row in rows for name, cell in row.items() if cell.harness for key in cell.scores}
    return [(Column(name, key, "neither", wide=True), partial(_lent, name=name, key=key)) for name, key in found]


def _by_probe(result: ExperimentResult) -> Measures:
    """A column per measure of each probe: the mean over the tasks of the stream in the last row."""
    return [
        (Column(f"{label} {measure.key}", measure.unit, measure.direction, wide=True),
         partial(_probed, label=label, key=measure.key))
        for label, measures in result.probes.items()
        for measure in drawn(measures)
    ]  # fmt: skip


def terminal_table(result: ExperimentResult, width: int = 100) -> RichTable:
    """The table of strategies for a terminal; the best values are bold and starred.

    A terminal of less than 100 columns gets the tasks, their mean, forgetting and the time.
    """
    table = strategies(result)
    chosen = [i for i, column in enumerate(table.columns) if width >= 100 or not column.wide]
    what = (
        "strict scores, below them with form forgiven"
        if is_scored(result)
        else "loss in nats/token, below it bits/byte (b/B)"
    )
    title = f"{result.name}: {what}"
    shown = RichTable(title=title, title_justify="left", box=None, padding=(0, 0, 1, 1), pad_edge=False)
    shown.add_column("strategy", overflow="fold", min_width=16, max_width=20)
    for column in (table.columns[i] for i in chosen):
        shown.add_column(Text(column.short or column.title), justify="right", overflow="fold")
    for row in table.rows:
        name = Text(row.group.label, style=row.group.colour)
        if row.group.reference:
            name.append("\nreference", style="dim")
        shown.add_row(name, *(_terminal(row.values[i]) for i in chosen))
    return shown


def spread(numbers: Sequence[float]) -> str:
    """Half the distance from the smallest to the largest number as "± 0.02"; empty for a single number."""
    return f"± {(max(numbers) - min(numbers)) / 2:.2f}" if len(numbers) > 1 else ""


def _final(group: Group, names: Sequence[str]) -> Value:
    """Mean loss over `names` in the last row of R; bits per byte below it."""
    cells = [[run.matrix.get(final_row(run), {}).get(name) for name in names] for run in group.runs]
    known: list[list[Cell]] = [[cell for cell in row if cell is not None] for row in cells]
    if not names or any(len(row) < len(names) for row in known):
        return _undefined("not evaluated after the last task")
    losses = [mean([cell.loss for cell in row]) for row in known]
    bits = mean([mean([cell.bits_per_byte for cell in row]) for row in known])
    return _value(losses, f"{bits:.2f} b/B")


def _score(group: Group, name: str) -> Value:
    """Strict score in the last row of R; below it the normalised score, which forgives form."""
    cells = [run.matrix.get(final_row(run), {}).get(name) for run in group.runs]
    found = [cell.scores for cell in cells if cell is not None and cell.scores]
    if len(found) < len(cells):
        return _undefined("not evaluated after the last task")
    forgiven = mean([scores["normalised"] for scores in found])
    return _value([scores["strict"] for scores in found], f"({forgiven:.2f})")


def _lent(group: Group, name: str, key: str) -> Value:
    """A metric of the harness in the last row; below it the same before any training."""
    last = [run.matrix.get(final_row(run), {}).get(name) for run in group.runs]
    found = [cell.scores[key] for cell in last if cell is not None]
    if len(found) < len(last):
        return _undefined("not evaluated after the last task")
    first = [run.matrix[min(run.matrix)][name].scores[key] for run in group.runs]
    return _value(found, f"was {mean(first):.2f}")


def _probed(group: Group, label: str, key: str) -> Value:
    """A measure of a probe in the last row, mean over the tasks of the stream."""
    rows = [(run.order, run.probes.get(label, {}).get(final_row(run), {})) for run in group.runs]
    found = [[values[key] for name, values in row.items() if name in order and key in values] for order, row in rows]
    if not all(found):
        return _undefined("not measured after the last task")
    return _value([mean(values) for values in found], "")


def _stored(group: Group) -> Value:
    """Bytes that the memory of the last row stores; below it the number of examples."""
    if not (found := figures_at(group, final_row(group.runs[0]))):
        return _undefined("nothing is retrieved")
    return Value(found["bytes"], abbreviated(found["bytes"]), (f"{abbreviated(found['stored'])} examples",))


def _read(group: Group) -> Value:
    """Tokens before an answer in the last row; below it the time to find what is shown."""
    if not (found := figures_at(group, final_row(group.runs[0]))):
        return _undefined("nothing is retrieved")
    detail = (f"{found['shown']:.1f} shown", f"{1000 * found['seconds']:.2g} ms")
    return Value(found["read"], abbreviated(found["read"]), detail)


def _forgetting(group: Group) -> Value:
    """Forgetting at the end; below it the largest forgetting in between, if training was evaluated often enough."""
    value = _metric(group, forgetting)
    worst = [peak(run) for run in group.runs]
    if math.isnan(value.number) or any(math.isnan(metric.value) for metric in worst):
        return value
    detail = f"peak {mean([metric.value for metric in worst]):.2f}"
    return replace(value, detail=(*value.detail, detail), note=f"peak: 2205.13452, {worst[0].key} steps")


def _metric(group: Group, formula: Callable[[RunResult], Metric]) -> Value:
    """A metric of each run, mean over seeds."""
    found = [formula(run) for run in group.runs]
    for metric in found:
        if math.isnan(metric.value):
            return _undefined(f"{metric.key}: {metric.reason}")
    return _value([metric.value for metric in found])


def _value(numbers: Sequence[float], *detail: str) -> Value:
    """A cell with the mean of the seeds, their spread and further details."""
    details = tuple(text for text in (spread(numbers), *detail) if text)
    return Value(mean(numbers), f"{mean(numbers):.2f}", details)


def _undefined(reason: str) -> Value:
    """A cell without a value."""
    return Value(math.nan, "–", note=reason)


def _cost(group: Group, measure: Callable[[RunResult], float], show: Callable[[float], str]) -> Value:
    """A cell with the mean cost of the runs."""
    number = mean([measure(run) for run in group.runs])
    return _undefined("no stage was trained") if math.isnan(number) else Value(number, show(number))


def _tokens(run: RunResult) -> float:
    """Training tokens of a run."""
    return sum(stage.tokens for stage in run.stages)


def _seconds(run: RunResult) -> float:
    """Training seconds of a run."""
    return sum(stage.seconds for stage in run.stages)


def _evaluation_share(run: RunResult) -> float:
    """Share of evaluation in the time of training and evaluation."""
    evaluation = sum(stage.eval_seconds for stage in run.stages)
    total = evaluation + _seconds(run)
    return evaluation / total if total else math.nan


def _mark(column: Column, every: Sequence[Group], values: list[Value]) -> list[Value]:
    """Mark the best value, and all that print the same, if there are at least two contenders."""
    numbers = [v.number for g, v in zip(every, values, strict=True) if not g.reference and not math.isnan(v.number)]
    if column.better == "neither" or len(numbers) < 2:
        return values
    best = f"{min(numbers) if column.better == 'lower' else max(numbers):.2f}"
    return [replace(v, best=v.text == best and not g.reference) for g, v in zip(every, values, strict=True)]


def _terminal(value: Value) -> Text:
    """A cell as terminal text."""
    text = Text(f"{value.text}*" if value.best else value.text, style="bold" if value.best else "")
    for detail in value.detail:
        text.append(f"\n{detail}", style="not bold dim")
    return text
