"""The pictures of a report as Plotly figures, each computed from the result alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import plotly.graph_objects as go
import plotly.io

from cl.errors import UserError
from cl.metrics.probed import drawn
from cl.metrics.records import ExperimentResult, StageResult
from cl.metrics.run_metrics import score
from cl.metrics.transitions import answered
from cl.reporting.html.curves import Pick, curve_figure, forgetting_figure, window_loss
from cl.reporting.html.groups import Group, groups, is_scored, loss_at, mean, score_at
from cl.reporting.html.inside import inside_figures
from cl.reporting.html.probe_maps import probe_maps
from cl.reporting.html.probes import probe_figures
from cl.reporting.html.style import FAINT, INK, SCALE, SOURCES, empty
from cl.reporting.html.transitions import transitions_figure


def figures(result: ExperimentResult) -> dict[str, go.Figure]:
    """All pictures by name; a picture for which the result has no data is left out.

    Names: `forgetting`, `form_and_content`, `curve/SET`, `matrix/GROUP`, `learning_rate`, `sources/GROUP`,
    `transitions/SET`, `probe/LABEL/MEASURE`, `probe/LABEL/MEASURE/ROW`, `probe/LABEL/MEASURE/AXIS/GROUP`,
    `terms/NAME`.
    """
    every = groups(result)
    if not every:
        return {}
    made = {"forgetting": forgetting_figure(result)}
    if is_scored(result):
        made["form_and_content"] = form_and_content_figure(every)
    for name in [*result.tasks, *result.retain, *result.general]:
        made[f"curve/{name}"] = curve_figure(every, name, window_loss(name), "nats/token")
    for group in every:
        made[f"matrix/{group.label}"] = matrix_figure(result, group)
    made["learning_rate"] = curve_figure(every, "learning rate", lambda point: point.lr, "as applied")
    for group in every:
        made[f"sources/{group.label}"] = sources_figure(result, group)
    for name in dict.fromkeys(name for run in result.runs for name in answered(run)):
        made[f"transitions/{name}"] = transitions_figure(every, name)
    for label, measures in result.probes.items():
        for measure in drawn(measures):
            made |= probe_figures(every, label, measure) | inside_figures(every, label, measure)
        made |= {f"probe/{name}": figure for name, figure in probe_maps(every, label, measures).items()}
    for name in sorted({name for run in result.runs for s in run.stages for p in s.points for name in p.terms}):
        made[f"terms/{name}"] = curve_figure(every, name, _term(name), "as logged")
    return {name: figure for name, figure in made.items() if any(len(trace.x or ()) for trace in figure.data)}


def save_images(made: Mapping[str, go.Figure], folder: Path) -> list[Path]:
    """Write each figure as PNG, 1200 px wide at double resolution. Needs `kaleido` and a Chromium, no network.

    Raises:
        UserError: kaleido or Chromium is missing.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name.replace('/', '-')}.png" for name in made]
    try:
        plotly.io.write_images(list(made.values()), paths, width=1200, scale=2)
    except (ImportError, ValueError, RuntimeError) as error:
        raise UserError(f"images: PNG needs kaleido and a Chromium, install them or use HTML ({error})") from error
    return paths


def form_and_content_figure(every: Sequence[Group]) -> go.Figure:
    """Fall of the strict score at the end of each stream: form alone (superficial) and content (essential).

    Means over earlier tasks and seeds. The two parts add up to the fall, so a negative part is a gain. References have
    no bar, because they are no streams.
    """
    shown = [group for group in every if not group.reference]
    figure = empty("Forgotten form and content", "fall of the strict score on earlier tasks", 84 + 40 * len(shown))
    for key, colour in (("essential", INK), ("superficial", SOURCES[1])):
        figure.add_bar(
            y=[group.label for group in shown],
            x=[mean([score(run, key).value for run in group.runs]) for group in shown],
            orientation="h",
            name={"essential": "content (essential)", "superficial": "form alone (superficial)"}[key],
            marker={"color": colour},
            hovertemplate="%{y}: %{x:.3f}",
        )
    figure.update_yaxes(autorange="reversed", showgrid=False, type="category", dtick=1)
    figure.update_xaxes(showgrid=True, zeroline=True, zerolinecolor=FAINT, tickformat=".2f")
    return figure.update_layout(barmode="relative", hovermode="closest", bargap=0.35)


def matrix_figure(result: ExperimentResult, group: Group) -> go.Figure:
    """R of a group, mean over seeds: strict scores if there are any, otherwise losses.

    The task just learned is framed; absent cells are white and labelled.
    """
    scored = is_scored(result)
    value, unit = (score_at, "strict score") if scored else (loss_at, "nats/token")
    columns = [*group.order, *result.retain, *result.general]
    names = ["before training", *(f"after {task}" for task in group.order)]
    losses = [[value(group, t, name) for name in columns] for t in range(len(names))]
    trained = (
        [0.0, 1.0]
        if scored
        else [
            cell.loss
            for run in result.runs
            for t, row in run.matrix.items()
            if t
            for cell in row.values()
            if cell.tokens
        ]
    )
    figure = empty(group.label, "", 84 + 46 * len(names))
    figure.add_heatmap(
        z=[[None if math.isnan(loss) else loss for loss in row] for row in losses],
        x=columns,
        y=names,
        colorscale=SCALE,
        zmin=min(trained, default=0),
        zmax=max(trained, default=1),
        texttemplate="%{z:.2f}",
        textfont={"size": 14},
        xgap=3,
        ygap=3,
        showscale=False,
        hovertemplate="%{x}, %{y}: %{z:.4f} " + unit + "<extra></extra>",
    )
    for t, row in enumerate(losses):
        for i, loss in enumerate(row):
            if math.isnan(loss):
                font = {"color": FAINT, "size": 12}
                figure.add_annotation(x=i, y=t, text="absent", showarrow=False, font=font)
            elif i == t - 1 and not group.reference:
                box = {"x0": i - 0.48, "x1": i + 0.48, "y0": t - 0.46, "y1": t + 0.46}
                figure.add_shape(**box, type="rect", line={"color": INK, "width": 2})
    figure.update_xaxes(side="top", ticks="", type="category")
    figure.update_yaxes(autorange="reversed", showgrid=False, ticks="", type="category")
    return figure.update_layout(hovermode="closest", margin={"l": 10, "r": 10, "t": 66, "b": 8})


def sources_figure(result: ExperimentResult, group: Group) -> go.Figure:
    """Share of each source in the tokens consumed between two points, first seed of the group."""
    stages = group.runs[0].stages
    names = list(dict.fromkeys([*result.tasks, *(n for s in stages for p in s.points for n in p.seen)]))
    bars = [bar for stage in stages for bar in _gained(stage)]
    figure = empty(group.label, "", 160)
    for i, name in enumerate(names):
        if any(name in shares for _, _, shares in bars):
            figure.add_bar(
                x=[middle for middle, _, _ in bars],
                width=[width for _, width, _ in bars],
                y=[shares.get(name, 0.0) for _, _, shares in bars],
                name=name,
                marker={"color": SOURCES[i % len(SOURCES)], "line": {"width": 0}},
                hovertemplate=f"{name} %{{y:.1%}}<extra></extra>",
            )
    figure.update_yaxes(tickformat=".0%", range=[0, 1], nticks=3)
    figure.update_xaxes(nticks=5, range=[0, max((middle + width / 2 for middle, width, _ in bars), default=1)])
    return figure.update_layout(barmode="stack", bargap=0, legend={"traceorder": "normal"}, showlegend=True)


def _gained(stage: StageResult) -> list[tuple[float, float, dict[str, float]]]:
    """For each interval between points that consumed tokens: middle and width in tokens, share of each source."""
    made: list[tuple[float, float, dict[str, float]]] = []
    for before, after in pairwise(stage.points):
        gained = {name: count - before.seen.get(name, 0) for name, count in after.seen.items()}
        total, width = sum(gained.values()), after.tokens - before.tokens
        if total:
            shares = {name: count / total for name, count in gained.items() if count}
            made.append((stage.offset + before.tokens + width / 2, width, shares))
    return made


def _term(name: str) -> Pick:
    """The function that returns a point's loss term."""
    return lambda point: point.terms.get(name)
