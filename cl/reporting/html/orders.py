"""The results of `cl order`: pictures and an HTML page."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import plotly.graph_objects as go

from cl.reporting.formatting import fixed
from cl.reporting.html.page import embed, write_beside
from cl.reporting.html.style import BOUNDARY, FAINT, PALETTE, REFERENCE, empty

Answer = Mapping[str, Any]
DIVERGING = [[0, PALETTE[1]], [0.5, "#FFFFFF"], [1, PALETTE[0]]]
"""Colour scale from below to above zero, in the hues of the palette."""


def headline(what: str, answer: Answer) -> str:
    """The finding in one sentence.

    Args:
        what: the action: validate, search, position, tasks or estimate.
        answer: the result of the order node.
    """
    if what == "validate":
        best = answer["agreement"][0]
        low, high = map(fixed, best["spearman_interval"])
        return (
            f"On {best['orders']} really trained orders, estimates by {best['name']} rank with Spearman "
            f"{fixed(best['spearman'])} ({low} to {high}); their mean error is {fixed(best['error'], 4)} nats, "
            f"that of a constant {fixed(best['constant'], 4)}."
        )
    if what == "search":
        found = answer["found"][0]
        text = (
            f"The best of {answer['tried']} orders is estimated at {found['loss']:.4f} nats; the given order has "
            f"{answer['given']:.4f}"
        )
        real = [run["loss"] for run in answer.get("verified", [])]
        return text + (f"; really trained, the best has {min(real):.4f}." if real else "; no order was really trained.")
    if what == "position":
        ranges = [max(row) - min(row) for row in answer["memorisation"]]
        return f"The position of a batch changes the final loss on that batch by up to {max(ranges):.4f} nats."
    if what == "tasks":
        ranked = sorted(answer["task_orders"], key=lambda row: float(row["loss"]))
        return (
            f"Of {len(ranked)} task orders, {' > '.join(map(str, ranked[0]['tasks']))} has the lowest estimated loss "
            f"at the end, {ranked[0]['loss']:.4f} nats; the worst has {ranked[-1]['loss']:.4f}."
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
        maps = {"memorisation": "Loss on the moved batch", "generalisation": "Objective"}
        made = {name: map_figure(title, answer["samples"], answer[name]) for name, title in maps.items()} | made
    elif what == "tasks":
        made = {"tasks": tasks_figure(answer["task_orders"])} | made
    return made


def truth_figure(answer: Answer) -> go.Figure:
    """Estimated against real losses, with the line of equality."""
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
        annotation_text="given order",
        annotation_font_color=FAINT,
    )
    figure.update_layout(hovermode="closest")
    return figure.update_xaxes(title="really trained", tickformat=".4~g").update_yaxes(
        title="estimated", tickformat=".4~g"
    )


def ranks_figure(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Spearman correlation of each estimator with its bootstrap interval."""
    figure = empty("Rank correlation with real runs", "Spearman, 95 % bootstrap", 60 + 30 * len(rows))
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
    """Losses of random orders, the given order and the best orders found."""
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
    """A heat map [samples, positions]; each row minus its mean, because losses differ far more between batches."""
    figure = empty(title, "nats/token by position, minus the row's mean", 120 + 34 * len(samples))
    names = [f"batch {sample}" for sample in samples]
    beside = [[value - statistics.fmean(row) for value in row] for row in values]
    figure.add_heatmap(z=beside, y=names, x=list(range(len(values[0]))), **_around_zero(values))
    return figure.update_xaxes(title="position").update_layout(hovermode="closest")


def _around_zero(values: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Settings of a heat map of differences: white at 0, the values themselves in the hover box."""
    hover = "%{y}, %{x}: %{text:.4f} (%{z:+.4f})<extra></extra>"
    return {"text": values, "hovertemplate": hover, "zmid": 0, "colorscale": DIVERGING, "colorbar": {"thickness": 12}}


def tasks_figure(rows: Sequence[Mapping[str, Any]]) -> go.Figure:
    """Estimated loss of each set at the end of each task order, minus the set's mean; the best order on top."""
    figure = empty("Estimated loss at the end, by order of tasks", "nats/token, minus the mean", 120 + 22 * len(rows))
    sets, ranked = list(rows[0]["matrix"][-1]), sorted(rows, key=lambda row: -float(row["loss"]))
    names = [" > ".join(map(str, row["tasks"])) for row in ranked]
    values = [[float(row["matrix"][-1][name]) for name in sets] for row in ranked]
    means = [statistics.fmean(column) for column in zip(*values, strict=True)]
    beside = [[value - mean for value, mean in zip(row, means, strict=True)] for row in values]
    figure.add_heatmap(z=beside, x=sets, y=names, **_around_zero(values))
    return figure.update_yaxes(dtick=1).update_layout(hovermode="closest")


def weights_figure(weights: Sequence[float]) -> go.Figure:
    """Weight of each position in the final displacement."""
    figure = empty("Weight of each position", "Adam's scaling held fixed; 1 = mean step", 220)
    figure.add_bar(x=list(range(len(weights))), y=list(weights), marker_color=PALETTE[1], showlegend=False)
    return figure.update_xaxes(title="position")


def write(what: str, question: str, answers: Mapping[str, Answer], path: Path) -> None:
    """Write the self-contained page of all runs' answers.

    Args:
        what: the action.
        question: title of the page.
        answers: the answer of each run, by name.
        path: file of the page.
    """
    pictures = {
        run: {name: embed(f"{run}/{name}", figure) for name, figure in figures(what, answer).items()}
        for run, answer in answers.items()
    }
    write_beside(
        "orders.html.j2",
        path,
        {"fixed": fixed},
        what=what,
        question=question,
        answers=answers,
        headlines={run: headline(what, answer) for run, answer in answers.items()},
        pictures=pictures,
    )
