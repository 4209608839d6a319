"""Item transitions in pictures and tables: what share of a set's questions was forgotten, and what share was gained."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go
from rich.table import Table
from rich.text import Text

from cl.metrics import transitions
from cl.metrics.records import RunResult
from cl.metrics.transitions import Change, Shares
from cl.reporting.formatting import ABSENT
from cl.reporting.html.groups import Group
from cl.reporting.html.style import FAINT, empty


def rows(every: Sequence[Group]) -> list[tuple[Group, Change]]:
    """The table of transitions: a row per set and group of runs, set by set; empty if no answers were scored."""
    found = [(group, change) for group in every for change in transitions.changes(group.runs)]
    order = list(dict.fromkeys(change.name for _, change in found))
    return sorted(found, key=lambda row: order.index(row[1].name))


def transitions_figure(every: Sequence[Group], name: str) -> go.Figure:
    """Questions gained (above zero) and forgotten (below) from the row that learned a set to each later row.

    A set that is never learned is drawn from the first row. Lines are means over seeds; both parts of a strategy have
    one colour, and their sum is the change of the strict score.

    Args:
        every: groups of runs.
        name: name of the set.
    """
    figure = empty(name, "share of questions: gained above, forgotten below 0", 280)
    for group in every:
        path = _path(group, name)
        for gained in (True, False):
            figure.add_scatter(
                x=["before training" if t == 0 else f"after {group.order[t - 1]}" for t, _ in path],
                y=[shares.gained if gained else -shares.forgotten for _, shares in path],
                customdata=[
                    _beyond_chance(shares.gained_true if gained else shares.forgotten_true) for _, shares in path
                ],
                name=group.label,
                legendgroup=group.label,
                showlegend=gained,
                mode="lines+markers",
                line={"color": group.colour, "dash": group.dash},
                hovertemplate=("gained" if gained else "forgotten") + " %{y:+.3f}%{customdata}",
            )
    figure.add_hline(y=0, line={"color": FAINT, "width": 1})
    figure.update_xaxes(type="category", ticks="")
    return figure.update_yaxes(tickformat=".2f").update_layout(showlegend=True)


def _path(group: Group, name: str) -> list[tuple[int, Shares]]:
    """Rows from the one that learned a set, with the shares since; empty where no later row says anything."""
    start = _start(group.runs[0], name)
    if start is None:
        return []
    found = [(start, Shares(0.0, 0.0, 0.0, 0.0))]
    for t in sorted(t for t in group.runs[0].answers if t > start):
        counts = [transitions.between(run, name, start, t) for run in group.runs]
        known = [each for each in counts if each is not None]
        if len(known) == len(counts):
            found.append((t, transitions.shares(known)))
    return found if len(found) > 1 else []


def _start(run: RunResult, name: str) -> int | None:
    """The row that a set is followed from."""
    return (transitions.learned_in if name in run.order else transitions.first_row)(run, name)


def _beyond_chance(share: float) -> str:
    return "" if math.isnan(share) else f", {share:.3f} beyond chance"


def shown(share: float, true: float) -> str:
    """A share of questions, in brackets what of it is beyond chance: "0.25 (0.10)"."""
    return f"{share:.2f}" if math.isnan(true) else f"{share:.2f} ({true:.2f})"


def terminal_table(found: Sequence[Change]) -> Table:
    """Transitions of strategies as a terminal table: a line per strategy and set."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    table.add_column("strategy", overflow="fold")
    table.add_column("set", overflow="fold")
    for since in ("since learned", "since start"):
        for what in ("forgotten", "gained"):
            table.add_column(f"{what}\n{since}", justify="right", no_wrap=True)
    for each in found:
        table.add_row(Text(each.strategy), Text(each.name), *_cells(each.learned), *_cells(each.first))
    return table


def _cells(shares: Shares | None) -> tuple[str, str]:
    """Forgotten and gained as text."""
    if shares is None:
        return ABSENT, ABSENT
    return shown(shares.forgotten, shares.forgotten_true), shown(shares.gained, shares.gained_true)
