"""What `cl order` found, as pictures and a page of its own."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from cl.reporting.html.page import embed, write_beside
from cl.reporting.html.style import BOUNDARY, FAINT, PALETTE, REFERENCE, empty

Answer = Mapping[str, Any]
DIVERGING = [[0, PALETTE[1]], [0.5, "#FFFFFF"], [1, PALETTE[0]]]
"""From below to above, in the hues of the palette."""


def headline(what: str, answer: Answer) -> str:
    """The finding in one sentence."""
    if what == "validate":
        best = answer["agreement"][0]
        low, high = map(short, best["spearman_interval"])
        return (
            f"Of {best['orders']} orders that were really trained, estimates by {best['name']} rank with Spearman "
            f"{short(best['spearman'])} ({low} to {high}); they miss the loss by {short(best['error'], 4)} nats, "
            f"a constant by {short(best['constant'], 4)}."
        )
    if what == "search":
        found = answer["found"][0]
        text = (
            f"The best of {answer['tried']} estimated orders: {found['loss']:.4f} nats, the given {answer['given']:.4f}"
        )
        real = [run["loss"] for run in answer.get("verified", [])]
        return text + (f"; really trained, the best has {min(real):.4f}." if real else "; not verified.")
    if what == "position":
        ranges = [max(row) - min(row) for row in answer["memorisation"]]
        return f"Where a batch comes changes what is remembered of it by up to {max(ranges):.4f} nats."
    if what == "tasks":
        ranked = sorted(answer["task_orders"], key=lambda row: float(row["loss"]))
        return (
            f"Of {len(ranked)} orders of tasks {' > '.join(map(str, ranked[0]['tasks']))} is estimated to end best, at "
            f"{ranked[0]['loss']:.4f} nats, the worst at {ranked[-1]['loss']:.4f}."
        )
    losses = [row["loss"] for row in answer["estimates"]]
    return f"{len(losses)} orders are estimated to end between {min(losses):.4f} and {max(losses):.4f} nats."


def figures(what: str, answer: Answer) -> dict[str, go.Figure]:
    """The pictures of an answer by name."""
    made = {"weights": weights_figure(answer["position_weights"])}
    if what == "validate":
        made = {"truth": truth_figure(answer), "ranks": ranks_figure(answer["agreement"])} | made
    elif what == "search":
        made = {"search": search_figure(answer)} | made
    elif what == "position":
        maps = {"memorisation": "Loss on the batch that is moved", "generalisation": "Objective"}
        made = {name: map_figure(title, answer["samples"], answer[name]) for name, title in maps.items()} | made
    elif what == "tasks":
        made = {"tasks": tasks_figure(answer["task_orders"])} | made
    return made


def truth_figure(answer: Answer) -> go.Figure:
    """Estimated against real losses, with the line where both are equal."""
    figure = empty("Estimated and real loss of each order", "nats/token", 380)
    true = answer["truth"]
    for row, colour in zip(answer["agreement"][:2], PALETTE, strict=False):
        figure.add_scatter(
            x=true, y=row["estimated"], mode="markers", name=row["name"], marker={"color": colour, "size": 8}
        )
    low, high = min(true), max(true)
    figure.add_scatter(
        x=[low, high], y=[low, high], mode="lines", name="equal", line={"color": BOUNDARY, "dash": "dot"}
    )
    figure.add_hline(
        answer["given"],
        line={"color": REFERENCE, "dash": "dash"},
        annotation_text="the given order's",
        annotation_font_color=FAINT,
    )
    figure.update_layout(hovermode="closest")
    return figure.update_xaxes(title="really trained", tickformat=".4~g").update_yaxes(
        title="estimated", tickformat=".4~g"
    )


def ranks_figure(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Spearman correlation of each estimator with its bootstrap interval."""
    figure = empty("Rank correlation with the truth", "Spearman, 95 % bootstrap", 60 + 30 * len(rows))
    shown = [row for row in rows if row["spearman"] is not None][::-1]
    values = [row["spearman"] for row in shown]
    above = [row["spearman_interval"][1] - row["spearman"] for row in shown]
    below = [row["spearman"] - row["spearman_interval"][0] for row in shown]
    bars = {"type": "data", "array": above, "arrayminus": below, "symmetric": False}
    figure.add_scatter(
        x=values,
        y=[row["name"] for row in shown],
        mode="markers",
        error_x=bars,
        marker={"color": PALETTE[1], "size": 9},
        showlegend=False,
    )
    figure.update_yaxes(dtick=1)
    return figure.update_xaxes(range=[-1.05, 1.05], tickformat=".1f").update_layout(hovermode="closest")


def search_figure(answer: Answer) -> go.Figure:
    """Where random orders, the given one and the best ones are."""
    figure = empty("Losses of orders", "nats/token", 260)
    groups = {"random, estimated": answer["random"], "best, estimated": [one["loss"] for one in answer["found"]],
              "best, really trained": [run["loss"] for run in answer.get("verified", [])]}  # fmt: skip
    for (name, values), colour in zip(groups.items(), (REFERENCE, PALETTE[1], PALETTE[0]), strict=True):
        figure.add_scatter(
            x=values,
            y=[name] * len(values),
            mode="markers",
            marker={"color": colour, "size": 9, "opacity": 0.7},
            showlegend=False,
        )
    figure.add_vline(
        answer["given"], line={"color": BOUNDARY, "dash": "dash"}, annotation_text="given", annotation_font_color=FAINT
    )
    return figure.update_xaxes(tickformat=".4~g").update_layout(hovermode="closest")


def map_figure(title: str, samples: Sequence[int], values: Sequence[Sequence[float]]) -> go.Figure:
    """A heat map [samples, positions]: above or below the mean of each row, for batches differ by far more."""
    figure = empty(title, "nats/token by position, less the row's mean", 120 + 34 * len(samples))
    names = [f"batch {sample}" for sample in samples]
    beside = [[value - statistics.fmean(row) for value in row] for row in values]
    figure.add_heatmap(z=beside, y=names, x=list(range(len(values[0]))), **_around_zero(values))
    return figure.update_xaxes(title="position").update_layout(hovermode="closest")


def _around_zero(values: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Of a heat map of differences: white at 0; the values themselves are in the box beside the pointer."""
    hover = "%{y}, %{x}: %{text:.4f} (%{z:+.4f})<extra></extra>"
    return {"text": values, "hovertemplate": hover, "zmid": 0, "colorscale": DIVERGING, "colorbar": {"thickness": 12}}


def tasks_figure(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """The estimated loss of each set at the end of each order of tasks, less the set's mean; the best order on top."""
    figure = empty("Estimated loss at the end, by order of tasks", "nats/token, less the mean", 120 + 22 * len(rows))
    sets, ranked = list(rows[0]["matrix"][-1]), sorted(rows, key=lambda row: -float(row["loss"]))
    names = [" > ".join(map(str, row["tasks"])) for row in ranked]
    values = [[float(row["matrix"][-1][name]) for name in sets] for row in ranked]
    means = [statistics.fmean(column) for column in zip(*values, strict=True)]
    beside = [[value - mean for value, mean in zip(row, means, strict=True)] for row in values]
    figure.add_heatmap(z=beside, x=sets, y=names, **_around_zero(values))
    return figure.update_yaxes(dtick=1).update_layout(hovermode="closest")


def weights_figure(weights: Sequence[float]) -> go.Figure:
    """How much of the final displacement each position makes."""
    figure = empty("What a position weighs", "frozen scaling; 1 = a mean step", 220)
    figure.add_bar(x=list(range(len(weights))), y=list(weights), marker_color=PALETTE[1], showlegend=False)
    return figure.update_xaxes(title="position")


def short(value: float | None, digits: int = 3) -> str:
    """So many digits behind the point, or a dash."""
    return "–" if value is None else f"{value:.{digits}f}"


def write(what: str, question: str, answers: Mapping[str, Answer], path: Path) -> None:
    """Write the page of all runs' answers to `path`, self-contained."""
    pictures = {
        run: {name: embed(f"{run}/{name}", figure) for name, figure in figures(what, answer).items()}
        for run, answer in answers.items()
    }
    write_beside(
        "orders.html.j2",
        path,
        {"short": short},
        what=what,
        question=question,
        answers=answers,
        headlines={run: headline(what, answer) for run, answer in answers.items()},
        pictures=pictures,
    )
