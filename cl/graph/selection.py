"""Parts of an experiment's graph: some of its runs, its first rows of R, or nodes of some kinds.

    --only=strategies.rewarm*,seeds.0     runs of these strategies and this seed
    --only=orders.0                       runs of the first task order
    --until=row.2, --until=stage.2        up to row 2 of R; up to the end of stage 2, without its row
    --only-kind=train,data                nodes of these kinds

What a chosen node stands on is chosen with it. Keys do not change, so a part is a beginning of the whole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from cl.errors import UserError
from cl.graph.kinds import KINDS
from cl.graph.node import Node
from cl.graph.planner import Graph
from cl.graph.run_plan import RunPlan
from cl.registry import unknown

OPTIONS = ("--only", "--only-kind", "--until")
AXES = ("strategies", "seeds", "orders")
_UNTIL = re.compile(r"(row|stage)\.(\d+)")


@dataclass(frozen=True)
class Selection:
    """What is chosen.

    Args:
        arguments: the options as they were given.
        only: patterns of strategies, seeds or orders, as `AXIS.PATTERN`. Empty: all runs.
        kinds: kinds of nodes. Empty: all.
        until: `row.K` or `stage.K`. None: to the end.
    """

    arguments: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    until: str | None = None

    def __post_init__(self) -> None:
        for each in self.only:
            axis, _, pattern = each.partition(".")
            if axis not in AXES or not pattern:
                raise UserError(f"--only: {each!r} names no runs; write strategies.PATTERN, seeds.N or orders.N")
        for kind in self.kinds:
            if kind not in KINDS:
                raise UserError(unknown("--only-kind", kind, list(KINDS)))
        if self.until is not None and not _UNTIL.fullmatch(self.until):
            raise UserError(f"--until: {self.until!r} is no place; write row.K or stage.K")


def taken(arguments: Sequence[str]) -> tuple[Selection, list[str]]:
    """The selection that arguments of the command line state, and the other arguments.

    Raises:
        UserError: for an option that is given twice, or has a wrong value.
    """
    given = [argument for argument in arguments if argument.partition("=")[0] in OPTIONS]
    values: dict[str, str] = {}
    for argument in given:
        name, _, value = argument.partition("=")
        if name in values or not value:
            raise UserError(f"{name}: {'is given twice' if name in values else 'has no value'}; write {name}=A,B once")
        values[name] = value
    only, kinds = (tuple(values[name].split(",")) if name in values else () for name in OPTIONS[:2])
    found = Selection(tuple(given), only, kinds, values.get("--until"))
    return found, [argument for argument in arguments if argument not in given]


def selected(graph: Graph, selection: Selection) -> Graph:
    """The part of a graph that a selection states.

    Raises:
        UserError: if it chooses nothing.
    """
    runs = _runs(graph, selection)
    chosen = replace(graph, runs=runs)
    if selection.until is None and not selection.kinds:
        return chosen
    nodes = [graph.base, *graph.data.values(), *(node for run in runs for node in _until(run, selection.until))]
    if selection.kinds:
        nodes = [node for node in nodes if node.kind in selection.kinds]
    if not nodes:
        raise UserError(f"{' '.join(selection.arguments)}: no node of {graph.experiment.name} is chosen; widen it")
    return replace(chosen, part=tuple(nodes))


def _runs(graph: Graph, selection: Selection) -> list[RunPlan]:
    """The chosen runs: those that match a pattern of each axis that is named."""
    orders = list(dict.fromkeys(tuple(run.order) for run in graph.runs))
    found = graph.runs
    for axis in AXES:
        patterns = [each.partition(".")[2] for each in selection.only if each.partition(".")[0] == axis]
        if not patterns:
            continue

        def name(run: RunPlan, axis: str = axis) -> str:
            place = {"strategies": run.strategy.label, "seeds": run.seed, "orders": orders.index(tuple(run.order))}
            return str(place[axis])

        for pattern in patterns:
            if not any(fnmatchcase(name(run), pattern) for run in graph.runs):
                there = ", ".join(dict.fromkeys(map(name, graph.runs)))
                raise UserError(f"--only: {axis}.{pattern} matches no run; there are {there}")
        found = [run for run in found if any(fnmatchcase(name(run), pattern) for pattern in patterns)]
    return found


def _until(run: RunPlan, until: str | None) -> list[Node]:
    """The wanted nodes of a run up to a place.

    Raises:
        UserError: if the run ends before it.
    """
    if until is None:
        return run.wanted
    kind, _, number = until.partition(".")
    stage, last = int(number), int(number) if kind == "row" else int(number) - 1
    if stage > max(run.rows):
        raise UserError(f"--until: {until}: {run.strategy.label} ends with row {max(run.rows)}; give a smaller one")
    shown = {
        "stages": [plan for plan in run.stages if plan.stage.t <= stage],
        "rows": {t: node for t, node in run.rows.items() if t <= last},
        "probes": {label: {t: n for t, n in found.items() if t <= last} for label, found in run.probes.items()},
        "inside": {label: {at: n for at, n in found.items() if at[0] <= stage} for label, found in run.inside.items()},
    }
    return replace(run, **shown).wanted  # type: ignore[arg-type]
