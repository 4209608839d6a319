"""The results of `cl compare`: sentences, terminal tables, pictures and an HTML page."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path

import plotly.graph_objects as go
from rich.table import Table
from rich.text import Text

from cl.metrics.answer_tests import ItemContrast
from cl.metrics.comparison_result import UNITS, Comparison, Contrast, Standing
from cl.metrics.probed import Probed
from cl.metrics.run_metrics import better
from cl.metrics.statistics import Interval
from cl.reporting.formatting import significant
from cl.reporting.html.page import embed, write_beside
from cl.reporting.html.style import BOUNDARY, FAINT, PALETTE, REFERENCE, empty
from cl.reporting.html.transitions import shown

COLOURS = {"better": PALETTE[2], "worse": PALETTE[0], "not decided": REFERENCE, "undefined": REFERENCE}


def sentence(contrast: Contrast, units: int) -> str:
    """A test in one sentence: verdict, difference, interval, p, effect sizes and number of units."""
    if contrast.verdict == "undefined":
        return f"{contrast.a} and {contrast.b} cannot be compared on {contrast.metric}: {contrast.reason}."
    said = {"better": "is better than", "worse": "is worse than"}.get(contrast.verdict, "is not told apart from")
    return (
        f"{contrast.a} {said} {contrast.b} on {contrast.metric}: {contrast.mean:+.3g} ({span(contrast.interval)}), "
        f"p {significant(contrast.p, 2)}, Holm {significant(contrast.adjusted, 2)}, "
        f"d_z {significant(contrast.d_z, 2)}, Cliff's delta {significant(contrast.delta, 2)}, n {units}."
    )


def contrasts_table(metric: str, found: Comparison) -> Table:
    """The tests of a metric as a terminal table."""
    against = {one.b for one in found.contrasts}
    one_only = f"against {min(against)}" if len(against) == 1 else "test"
    percent = f"{100 * found.level:g} %"
    table = _table(one_only, "difference", percent, "p", "Holm", "d_z")
    table.add_column("", no_wrap=True)
    for one in found.contrasts:
        if one.metric == metric:
            figures = (significant(one.p, 2), significant(one.adjusted, 2), significant(one.d_z, 2))
            verdict = Text(one.verdict, style=COLOURS[one.verdict])
            name = one.a if len(against) == 1 else f"{one.a} - {one.b}"
            table.add_row(Text(name), significant(one.mean), span(one.interval), *figures, verdict)
    return table


def standings_table(metric: str, found: Comparison) -> Table:
    """The leaderboard of a metric as a terminal table, with the cost of each strategy."""
    table = _table("strategy", "mean", f"{100 * found.level:g} %", "rank", "sd orders/seeds", "tokens", "time")
    costs = {cost.strategy: cost for cost in found.costs}
    for one in found.standings[metric]:
        cost, spread = costs[one.strategy], f"{significant(one.spread.orders, 2)}/{significant(one.spread.seeds, 2)}"
        multiples = (f"x {significant(ratio)}" for ratio in (cost.tokens_ratio, cost.seconds_ratio))
        table.add_row(
            Text(one.strategy), significant(one.mean, 4), span(one.interval), significant(one.rank), spread, *multiples
        )
    return table


def by_title(found: Sequence[Probed]) -> dict[str, list[Probed]]:
    """Figures of probes by what is measured: a list per table."""
    titles = dict.fromkeys(each.title for each in found)
    return {title: [each for each in found if each.title == title] for title in titles}


def probes_table(found: Sequence[Probed]) -> Table:
    """One measure of a probe as a terminal table: a line per strategy, a column per row of R."""
    table = _table("strategy", *(f"after {t}" for t in rows_of(found)))
    for one in found:
        table.add_row(Text(one.strategy), *(significant(one.rows.get(t)) for t in rows_of(found)))
    return table


def rows_of(found: Sequence[Probed]) -> list[int]:
    """All rows of R in which a strategy has a value."""
    return sorted({t for one in found for t in one.rows})


def _table(first: str, *others: str) -> Table:
    """An empty terminal table with these columns, numbers right-aligned."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column(first, overflow="fold")
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def span(bounds: Interval) -> str:
    """An interval as "1.23 … 1.41", with two digits of its width; a dash if undefined."""
    if math.isnan(bounds.low):
        return "–"
    width = bounds.high - bounds.low
    places = max(0, 1 - math.floor(math.log10(width))) if width else 3
    return f"{bounds.low:.{places}f} … {bounds.high:.{places}f}"


def figures(found: Comparison) -> dict[str, go.Figure]:
    """The pictures by name."""
    made = {"tests": tests_figure(found.contrasts)}
    for metric, rows in found.standings.items():
        made[f"ranks/{metric}"] = ranks_figure(metric, rows, found.groups[metric])
        made[f"units/{metric}"] = units_figure(metric, rows)
    return made


def tests_figure(contrasts: Sequence[Contrast]) -> go.Figure:
    """Each unit's difference as a dot and the mean with its interval, in the colour of the verdict."""
    figure = empty("Differences, unit by unit", "bars: bootstrap interval of the mean", 110 + 40 * len(contrasts))
    for one in [each for each in contrasts if each.verdict != "undefined"][::-1]:
        name, colour = f"{one.a} – {one.b}<br>{one.metric}", COLOURS[one.verdict]
        each, units = list(one.differences.values()), list(one.differences)
        dots = {"color": colour, "opacity": 0.35, "size": 7}
        figure.add_scatter(x=each, y=[name] * len(each), text=units, mode="markers", marker=dots, showlegend=False)
        low, high = one.interval
        bars = {"type": "data", "array": [high - one.mean], "arrayminus": [one.mean - low], "symmetric": False}
        mean = {"color": colour, "size": 11, "symbol": "diamond"}
        figure.add_scatter(x=[one.mean], y=[name], error_x=bars, mode="markers", marker=mean, showlegend=False)
    figure.add_vline(0, line={"color": BOUNDARY, "dash": "dash"})
    return figure.update_yaxes(dtick=1).update_xaxes(tickformat=".3~g").update_layout(hovermode="closest")


def ranks_figure(metric: str, rows: Sequence[Standing], groups: Sequence[Sequence[str]]) -> go.Figure:
    """Mean ranks on a line; a bar joins strategies that no test of all pairs tells apart."""
    ranked = [row for row in rows if not math.isnan(row.rank)]
    figure = empty(
        "Mean rank over units", f"{metric}; bars join strategies not told apart", 130 + 16 * len(groups) + 70
    )
    rank = {row.strategy: row.rank for row in ranked}
    figure.add_scatter(
        x=[row.rank for row in ranked], y=[0] * len(ranked), text=[row.strategy for row in ranked],
        mode="markers", marker={"color": PALETTE[1], "size": 11}, showlegend=False,
    )  # fmt: skip
    for place, row in enumerate(ranked):
        figure.add_annotation(
            x=row.rank, y=0, text=row.strategy, textangle=-25, xanchor="left", yanchor="bottom", showarrow=False,
            yshift=8 + 14 * (place % 2), font={"size": 12},
        )  # fmt: skip
    for place, group in enumerate(groups, 1):
        ends = [min(rank[label] for label in group) - 0.04, max(rank[label] for label in group) + 0.04]
        figure.add_scatter(
            x=ends, y=[-place] * 2, mode="lines", line={"color": FAINT, "width": 5}, showlegend=False, hoverinfo="skip"
        )
    figure.update_yaxes(visible=False, range=[-len(groups) - 0.7, 3.2])
    return figure.update_xaxes(range=[0.8, len(ranked) + 0.5], dtick=1, tickformat="d", title="1 = best")


def units_figure(metric: str, rows: Sequence[Standing]) -> go.Figure:
    """Every unit of every strategy, in the colour of its task order: the spread over seeds and orders."""
    figure = empty("Every unit", f"{metric}, {better(metric)} is better", 110 + 30 * len(rows))
    orders = list(dict.fromkeys(unit.partition(", ")[2] for row in rows for unit in row.values))
    for order, colour in zip(orders, itertools.cycle(PALETTE)):
        points = [
            (value, row.strategy, unit)
            for row in rows[::-1]
            for unit, value in row.values.items()
            if unit.partition(", ")[2] == order
        ]
        x, y, text = zip(*points, strict=True)
        marker = {"size": 9, "opacity": 0.6, "color": colour}
        shown = 1 < len(orders) <= len(PALETTE)
        figure.add_scatter(x=x, y=y, text=text, mode="markers", name=order, marker=marker, showlegend=shown)
    return figure.update_yaxes(dtick=1).update_xaxes(tickformat=".4~g").update_layout(hovermode="closest")


def write(
    question: str,
    found: Comparison,
    disclosure: str,
    notes: Sequence[str],
    path: Path,
    single: Sequence[ItemContrast] = (),
) -> None:
    """Write a self-contained page.

    Args:
        question: title of the page.
        found: the comparison.
        disclosure: record of settings and data, as YAML.
        notes: warnings, printed first.
        path: file of the page.
        single: tests on single answers.
    """
    write_beside(
        "comparison.html.j2",
        path,
        {"significant": significant},
        question=question,
        found=found,
        unit=UNITS[found.unit],
        sentences=[sentence(one, len(found.units)) for one in found.contrasts],
        costs={cost.strategy: cost for cost in found.costs},
        pictures=[embed(name, figure) for name, figure in figures(found).items()],
        disclosure=disclosure,
        notes=notes,
        single=[one.sentence for one in single],
        shown=shown,
        probes=by_title(found.probes),
        rows_of=rows_of,
    )
