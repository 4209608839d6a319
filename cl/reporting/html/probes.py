"""Pictures of probes, drawn from what each probe declares about its measures."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from cl.metrics.records import Measure
from cl.reporting.html.groups import Group, mean
from cl.reporting.html.style import FAINT, empty


def probe_figure(every: Sequence[Group], label: str, measure: Measure) -> go.Figure:
    """One measure over the rows of R: the mean over data sets and seeds, a line per strategy.

    Args:
        every: groups of runs.
        label: label of the probe.
        measure: the measure.
    """
    better = "" if measure.direction == "neither" else f", {measure.direction} is better"
    figure = empty(f"{label}: {measure.key}", f"{measure.unit}{better}", 300)
    for group in every:
        rows = sorted({t for run in group.runs for t in run.probes.get(label, {})})
        values = [_at(group, label, measure.key, t) for t in rows]
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
    figure.update_xaxes(type="category", ticks="")
    return figure.update_layout(showlegend=True)


def _at(group: Group, label: str, key: str, t: int) -> float | None:
    """The mean over the data sets of row t and over the seeds that have the row; None where there is no value."""
    rows = [run.probes[label][t] for run in group.runs if t in run.probes.get(label, {})]
    found = [values[key] for row in rows for values in row.values() if key in values]
    return mean(found) if found else None
