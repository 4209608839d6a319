"""Curves over the tokens of the whole stream: the large picture of forgetting and the small curves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import plotly.graph_objects as go

from cl.metrics.records import ExperimentResult, Point
from cl.reporting.html.groups import Group, Line, final_row, groups, lines, loss_at, mean
from cl.reporting.html.style import BOUNDARY, FAINT, REFERENCE, SHARED, empty

Pick = Callable[[Point], float | None]

HERO_HEIGHT, SMALL_HEIGHT = 440, 260  # pixels
TOP, BOTTOM = 64, 36  # margins of the forgetting picture
PALE = "rgba(255,255,255,0.75)"  # background of labels that may cover a line
LABEL_GAP = 20  # pixels between two labels at line ends


def forgetting_figure(result: ExperimentResult) -> go.Figure:
    """Loss on the first task against tokens of the stream: lines from validation during training, dots from R.

    The loss axis covers the values after the first stage; the steep start of that stage is cut off. Strategies that
    merge have dots only, because their lines would belong to other models.
    """
    every = groups(result)
    contenders = [group for group in every if not group.reference]
    trained = [group for group in contenders if not group.merged]
    task = every[0].order[0]
    ends = {group: loss_at(group, final_row(group.runs[0]), task) for group in every}
    ends = {group: loss for group, loss in ends.items() if not math.isnan(loss)}
    dots = [loss_at(g, s.row, task) for g in contenders if g.merged for s in g.runs[0].stages if s.row is not None]
    low, high = _window(trained, window_loss(task), [*ends.values(), *dots])
    before = next((loss for group in every if not math.isnan(loss := loss_at(group, 0, task))), math.nan)
    unit = "nats/token" if math.isnan(before) else f"nats/token · {before:.2f} at the start"
    figure = empty(f"Loss on {task}", unit, HERO_HEIGHT)
    draw(figure, trained, window_loss(task))
    for group in contenders:
        _dots(figure, group, task)
    for group in ends:
        if group.reference:
            figure.add_hline(y=ends[group], line={"color": group.colour, "width": 1.5, "dash": "dash"})
    if low < before < high:
        figure.add_hline(y=before, line={"color": REFERENCE, "width": 1, "dash": "dot"})
    figure.update_yaxes(range=[low, high])
    boundaries(figure, contenders, labelled=True)
    _end_labels(figure, ends, low, high)
    longest = max((len(group.label) for group in ends), default=0)
    return figure.update_layout(showlegend=False, margin={"r": min(60 + 8 * longest, 280), "t": TOP, "b": BOTTOM})


def curve_figure(every: Sequence[Group], title: str, value: Pick, unit: str) -> go.Figure:
    """One quantity of the training points against tokens of the stream, one line per group.

    Args:
        every: the groups.
        title: title of the picture.
        value: the quantity of a point; None where the point has none.
        unit: unit in the title.
    """
    figure = empty(title, unit, SMALL_HEIGHT)
    draw(figure, every, value)
    boundaries(figure, [group for group in every if not group.reference], labelled=False)
    return figure.update_xaxes(nticks=5)


def window_loss(name: str) -> Pick:
    """The function that returns a point's validation loss on a data set."""
    return lambda point: point.scores.get(name)


def draw(figure: go.Figure, every: Sequence[Group], value: Pick) -> None:
    """Draw every group's stages. A stage with the same node keys in several groups is drawn once, in dark grey."""
    drawn = [(group, line) for group in every for line in lines(group, value)]
    owners = Counter(line.keys for _, line in drawn)
    seen: set[frozenset[str]] = set()
    named: set[str] = set()
    for group, line in drawn:
        if line.keys in seen:
            continue
        seen.add(line.keys)
        common = owners[line.keys] > 1
        name, colour = ("shared, trained once", SHARED) if common else (group.label, group.colour)
        if len(line.keys) > 1:
            _band(figure, line, colour, name)
        figure.add_scatter(
            x=line.x,
            y=line.mean,
            mode="lines",
            name=name,
            legendgroup=name,
            showlegend=name not in named,
            line={"color": colour, "width": 2.4, "dash": "solid" if common else group.dash},
            hovertemplate="%{y:.4g}",
        )
        named.add(name)


def boundaries(figure: go.Figure, contenders: Sequence[Group], labelled: bool) -> None:
    """Draw a vertical line where each stage starts, with its name if `labelled`.

    Starts within 2 % of the stream share one line. If groups start a stage at different tokens, its name is at the
    first.
    """
    stages = sorted((s for group in contenders for s in group.runs[0].stages), key=lambda stage: stage.offset)
    end = max((stage.offset + stage.tokens for stage in stages), default=0)
    starts: dict[int, str] = {}
    for stage in stages:
        if all(stage.offset - start >= 0.02 * end for start in starts):
            starts[stage.offset] = stage.name
    named: set[str] = set()
    for start, name in starts.items():
        figure.add_vline(x=start, line={"color": BOUNDARY, "width": 1, "dash": "dot"})
        if labelled and name not in named:
            named.add(name)
            label = {"text": f"{name} ▸", "font": {"color": FAINT, "size": 13}, "xshift": 2, "showarrow": False}
            figure.add_annotation(x=start, y=1, yref="paper", yanchor="bottom", xanchor="left", **label)
    if end:
        figure.update_xaxes(range=[0, end])


def apart(wanted: Sequence[float], gap: float) -> list[float]:
    """Positions at least `gap` apart, in the order of `wanted` and with the smallest squared movement.

    Isotonic regression (pool adjacent violators) of the positions minus their rank times the gap.
    """
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    pools: list[list[float]] = []
    for rank, index in enumerate(order):
        pools.append([wanted[index] - rank * gap])
        while len(pools) > 1 and mean(pools[-2]) > mean(pools[-1]):
            last = pools.pop()
            pools[-1].extend(last)
    flat = [mean(pool) for pool in pools for _ in pool]
    placed = [0.0] * len(wanted)
    for rank, index in enumerate(order):
        placed[index] = flat[rank] + rank * gap
    return placed


def _window(contenders: Sequence[Group], value: Pick, ends: Sequence[float]) -> tuple[float, float]:
    """Range of the loss axis: the final losses, and all values from the end of each group's first stage on."""
    values = list(ends)
    for group in contenders:
        drawn = lines(group, value)
        values += [loss for line in drawn[1:] for loss in (*line.low, *line.high)]
        values += drawn[0].mean[-1:] if len(drawn) > 1 else [loss for line in drawn for loss in line.mean]
    values = [loss for loss in values if not math.isnan(loss)]
    if not values:
        return 0.0, 1.0
    pad = 0.08 * (max(values) - min(values)) or 0.5
    return min(values) - pad, max(values) + pad


def _band(figure: go.Figure, line: Line, colour: str, name: str) -> None:
    """The range from the smallest to the largest seed as a pale area behind the mean."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    figure.add_scatter(
        x=line.x + line.x[::-1],
        y=line.high + line.low[::-1],
        mode="none",
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.18)",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
    )


def _dots(figure: go.Figure, group: Group, task: str) -> None:
    """R[t, task] at the end of each stage that fills a row of R."""
    pairs = [(s.offset + s.tokens, loss_at(group, s.row, task)) for s in group.runs[0].stages if s.row is not None]
    figure.add_scatter(
        x=[x for x, _ in pairs],
        y=[y for _, y in pairs],
        mode="markers",
        showlegend=False,
        hoverinfo="skip",
        cliponaxis=False,
        marker={"color": group.colour, "size": 10, "line": {"color": "white", "width": 1.5}},
    )


def _end_labels(figure: go.Figure, ends: Mapping[Group, float], low: float, high: float) -> None:
    """Name and final R of each group at the end of its line, moved apart where labels would overlap."""
    inner = HERO_HEIGHT - TOP - BOTTOM
    wanted = [(loss - low) / (high - low) * inner for loss in ends.values()]
    for (group, loss), y in zip(ends.items(), apart(wanted, LABEL_GAP), strict=True):
        text = f"{group.label} <b>{loss:.2f}</b>"
        font = {"color": group.colour, "size": 14}
        place = {"x": 1, "xref": "paper", "xanchor": "left", "xshift": 10, "y": y / inner, "yref": "paper"}
        place |= {"yanchor": "middle", "showarrow": False}
        figure.add_annotation(**place, text=text, font=font, bgcolor=PALE, name="end")
