"""Pictures of probes, drawn from what each probe declares about its measures."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import plotly.graph_objects as go

from cl.metrics.records import Measure, RunResult
from cl.reporting.html.groups import Group, mean
from cl.reporting.html.style import FAINT, empty


def probe_figures(every: Sequence[Group], label: str, measure: Measure) -> dict[str, go.Figure]:
    """Pictures of one measure by name: `probe/LABEL/MEASURE`; of a measure that is drawn apart, two below it."""
    name = f"probe/{label}/{measure.key}"
    if not measure.apart:
        return {name: probe_figure(every, label, measure)}
    return {f"{name}/{part}": probe_figure(every, label, measure, part) for part in PARTS}


def probe_figure(every: Sequence[Group], label: str, measure: Measure, part: str | None = None) -> go.Figure:
    """One measure over the rows of R: the mean over data sets and seeds, a line per strategy.

    Args:
        every: groups of runs.
        label: label of the probe.
        measure: the measure.
        part: which data sets, one of `PARTS`; None: all. Rows without such a set are left out.
    """
    heading = f"{label}: {measure.key}" + (f" on {part}" if part else "")
    better = "" if measure.direction == "neither" else f", {measure.direction} is better"
    figure = empty(heading, f"{measure.unit}{better}", 300)
    for group in every:
        rows = sorted({t for run in group.runs for t in run.probes.get(label, {})})
        if part is not None:
            rows = [t for t in rows if _at(group, label, measure.key, t, part) is not None]
        values = [_at(group, label, measure.key, t, part) for t in rows]
        figure.add_scatter(
            x=[f"after {group.order[t - 1]}" if t else "before training" for t in rows],
            y=values,
            name=group.label,
            mode="lines+markers",
            line={"color": group.colour, "dash": group.dash},
            hovertemplate="%{y:.3f}",
        )
    if measure.chance is not None:
        figure.add_hline(y=measure.chance, line={"color": FAINT, "dash": "dot"}, annotation_text="chance")
    if part is not None:
        figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(type="category", ticks="")
    return figure.update_layout(showlegend=True)


def _at(group: Group, label: str, key: str, t: int, part: str | None = None) -> float | None:
    """The mean over the data sets of row t and over the seeds that have the row; None where there is no value."""
    runs = [run for run in group.runs if t in run.probes.get(label, {})]
    found = [
        values[key]
        for run in runs
        for name, values in run.probes[label][t].items()
        if key in values and (part is None or PARTS[part](run, t, name))
    ]
    return mean(found) if found else None


def _just_learned(run: RunResult, t: int, name: str) -> bool:
    """Whether a set was learned between row t of R and the row before it."""
    before = max((row for row in run.matrix if row < t), default=run.known)
    return name in run.order[before:t]


PARTS: dict[str, Callable[[RunResult, int, str], bool]] = {
    "the new task": _just_learned,
    "sets outside of the stream": lambda run, t, name: name not in run.order,
}
"""Data sets that a picture of a measure shows apart: of a run and a row of R, which names belong to it."""
