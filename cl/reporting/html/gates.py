"""What gates decided: one line for each gated task, for the page and the terminal."""

from __future__ import annotations

from typing import NamedTuple

from rich.table import Table

from cl.metrics.certificate import Certificate, Change
from cl.metrics.records import ExperimentResult, RunResult
from cl.reporting.formatting import ABSENT, plain

COLUMNS = ("run", "task", "decision", "gain on the task", "worst of the retained")
SAID = {"accept": "accepted", "hold": "held", "rollback": "rolled back"}


class Line(NamedTuple):
    """One decision as text.

    Args:
        run: strategy, with seed and order where there are several.
        task: the task that was learned.
        decision: in one word or two.
        gain: change of the task, with its interval.
        worst: the retained set with the lowest lower bound, and its change.
        registered: settings of the gating method.
        point: key of the state before.
    """

    run: str
    task: str
    decision: str
    gain: str
    worst: str
    registered: str
    point: str


def lines(result: ExperimentResult) -> list[Line]:
    """The decisions of all runs, in the order of the stages."""
    return [_line(_name(run, result), found) for run in result.runs for _, found in sorted(run.gates.items())]


def terminal_table(result: ExperimentResult) -> Table | None:
    """The decisions as a table. None: nothing is gated."""
    found = lines(result)
    if not found:
        return None
    table = Table(*COLUMNS, box=None, header_style="dim", pad_edge=False, title_justify="left")
    for line in found:
        table.add_row(*line[: len(COLUMNS)])
    return table


def _name(run: RunResult, result: ExperimentResult) -> str:
    """Name of a run among those of the result."""
    seed = f", seed {run.seed}" if len({each.seed for each in result.runs}) > 1 else ""
    order = f", {' > '.join(run.order)}" if len({tuple(each.order) for each in result.runs}) > 1 else ""
    return run.strategy + seed + order


def _line(run: str, found: Certificate) -> Line:
    """One decision."""
    worst = ABSENT if found.worst is None else f"{found.worst} {_text(found.regression[found.worst])}"
    registered = plain(next(iter(found.method.values())))
    gain = _text(found.verification)
    return Line(run, found.target, SAID[found.decision], gain, worst, registered, found.rollback_point)


def _text(change: Change) -> str:
    """A change with its interval."""
    return f"{change.mean:+.3f} ({change.low:+.3f} to {change.high:+.3f})"
