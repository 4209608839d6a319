"""Pictures of probes, drawn from what each probe declares about its measures."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from cl.metrics.probed import over_rows, parts
from cl.metrics.records import Measure
from cl.reporting.html.groups import Group
from cl.reporting.html.style import FAINT, GRID, empty


def probe_figures(every: Sequence[Group], label: str, measure: Measure) -> dict[str, go.Figure]:
    """Pictures of one measure by name: `probe/LABEL/MEASURE`; of a measure that is drawn apart, two below it."""
    name = f"probe/{label}/{measure.key}"
    return {
        name if part is None else f"{name}/{part}": probe_figure(every, label, measure, part) for part in parts(measure)
    }


def probe_figure(every: Sequence[Group], label: str, measure: Measure, part: str | None = None) -> go.Figure:
    """One measure over the rows of R: the mean over data sets and seeds, a line per strategy.

    Args:
        every: groups of runs.
        label: label of the probe.
        measure: the measure.
        part: which data sets, one of `cl.metrics.probed.PARTS`; None: all. Rows without such a set are left out.
    """
    heading = f"{label}: {measure.key}" + (f" on {part}" if part else "")
    better = "" if measure.direction == "neither" else f", {measure.direction} is better"
    figure = empty(heading, f"{measure.unit}{better}", 300)
    for group in every:
        values = over_rows(group.runs, label, measure.key, part)
        rows = sorted({t for run in group.runs for t in run.probes.get(label, {})}) if part is None else list(values)
        figure.add_scatter(
            x=[f"after {group.order[t - 1]}" if t else "before training" for t in rows],
            y=[values.get(t) for t in rows],
            name=group.label,
            mode="lines+markers",
            line={"color": group.colour, "dash": group.dash},
            hovertemplate="%{y:.3f}",
        )
    if measure.chance is not None:
        figure.add_hline(y=measure.chance, line={"color": FAINT, "dash": "dot"}, annotation_text="chance")
        if half := _widest(every, label, measure.null):
            interval = {"y0": measure.chance - half, "y1": measure.chance + half}
            figure.add_hrect(**interval, fillcolor=GRID, layer="below", line_width=0)
    if part is not None:
        figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(type="category", ticks="")
    return figure.update_layout(showlegend=True)


def _widest(every: Sequence[Group], label: str, key: str | None) -> float:
    """The largest value of a measure; 0 if there is none."""
    rows = [row for group in every for run in group.runs for row in run.probes.get(label, {}).values()]
    return max((cell[key] for row in rows for cell in row.values() if key in cell), default=0.0)
