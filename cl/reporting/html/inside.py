"""Pictures of probes inside stages: how a measure changes step by step while a task is learned."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from cl.metrics.records import Measure, RunResult
from cl.reporting.html.groups import Group, mean
from cl.reporting.html.style import DASHES, FAINT, PALETTE, empty

BEFORE = 0.5  # place of the state before a stage on its axis of steps, which is logarithmic


def inside_figures(every: Sequence[Group], label: str, measure: Measure) -> dict[str, go.Figure]:
    """One measure over the steps of each stage that was probed inside, by `probe/LABEL/MEASURE/ROW`.

    A line per strategy and data set, mean over seeds; it begins at the state before the stage and ends at its row of R.

    Args:
        every: groups of runs.
        label: label of the probe.
        measure: the measure.
    """
    rows = sorted({each.row for group in every for run in group.runs for each in run.inside if each.label == label})
    return {f"probe/{label}/{measure.key}/{row}": _inside(every, label, measure, row) for row in rows}


def _inside(every: Sequence[Group], label: str, measure: Measure, row: int) -> go.Figure:
    learned = next(group.order[row - 1] for group in every)
    title = f"{label}: {measure.key} while {learned} is learned"
    figure = empty(title, f"{measure.unit}, {measure.direction} is better; optimizer steps", 300)
    steps: set[float] = set()
    for group in every:
        names = {name: None for run in group.runs for name in run.probes[label].get(row, {})}
        for place, name in enumerate(names):
            found = [_curve(run, label, measure.key, row, name) for run in group.runs]
            x = sorted({step for curve in found for step in curve})
            steps |= set(x)
            colour = group.colour if len(every) > 1 else PALETTE[place % len(PALETTE)]
            figure.add_scatter(
                x=x,
                y=[mean([curve[step] for curve in found if step in curve]) for step in x],
                name=f"{group.label}, {name}" if len(every) > 1 else name,
                mode="lines+markers",
                line={"color": colour, "dash": DASHES[place % len(DASHES)]},
                hovertemplate="%{y:.3f}",
            )
    if measure.chance is not None:
        figure.add_hline(y=measure.chance, line={"color": FAINT, "dash": "dot"}, annotation_text="chance")
    ticks = sorted(steps)
    texts = ["before" if step == BEFORE else f"{step:.0f}" for step in ticks]
    figure.update_xaxes(type="log", tickmode="array", tickvals=ticks, ticktext=texts)
    return figure.update_layout(showlegend=True)


def _curve(run: RunResult, label: str, key: str, row: int, name: str) -> dict[float, float]:
    """Values of a measure on one data set by step of the stage that fills a row; without steps that have none."""
    length = next((stage.points[-1].step for stage in run.stages if stage.row == row), None)
    inside = [(each.step, each.sets) for each in run.inside if (each.label, each.row) == (label, row)]
    ends = [(BEFORE, run.probes[label].get(row - 1, {})), (length, run.probes[label].get(row, {}))]
    return {step: sets[name][key] for step, sets in [*ends, *inside] if step and key in sets.get(name, {})}
