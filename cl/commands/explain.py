"""`cl explain`: why nodes of an experiment are not stored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from cl.commands.shared import build_graph, console, quiet
from cl.errors import UserError
from cl.execution.store import Store

if TYPE_CHECKING:
    from cl.execution.differences import Difference, Explanation
    from cl.graph.node import Node
    from cl.graph.selection import Selection

MOST_DIFFERENCES, MOST_GROUPS = 8, 12


def explain(
    name: str,
    settings: list[str],
    node: str | None = None,
    all_lines: bool = False,
    selection: Selection | None = None,
) -> None:
    """Print a table of the missing nodes with their differences from the nearest stored nodes.

    Nodes with the same differences share a line.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.
        node: beginning of a key or part of a name; only matching nodes are explained.
        all_lines: print every group and every difference.
        selection: the part of the graph that is asked for. None: all.
    """
    from cl.execution import differences, runner

    graph = build_graph(name, settings, selection)
    store = Store(graph.experiment.store)
    with quiet():
        missing = _chosen(runner.pending(graph.wanted, store), node)
        found = differences.explain(missing, store)
    if not found:
        console.print("Everything is stored." if node is None else f"No missing node matches {escape(node)}.")
        return
    groups: dict[tuple[str, tuple[Difference, ...], bool], list[Explanation]] = {}
    for each in found:
        groups.setdefault((each.node.kind, _reasons(each), each.nearest is None), []).append(each)
    printed = list(groups.values()) if all_lines else list(groups.values())[:MOST_GROUPS]
    console.print(_table(printed, all_lines))
    if len(printed) < len(groups):
        console.print(f"[dim]… and {len(groups) - len(printed)} more reasons; --all prints them[/]")
    if any(difference.part == "code" for each in found for difference in each.differences):
        again = " ".join(["cl store accept", name, *settings, "--dry-run"])
        console.print(f"If an edit of the code changed no result: {escape(again)}")


def _chosen(missing: Sequence[Node], wanted: str | None) -> list[Node]:
    """The missing nodes that match the argument `node`; all if it is None."""
    if wanted is None:
        return list(missing)
    found = [node for node in missing if node.key.startswith(wanted) or wanted in f"{node.kind} {node.name}"]
    if not found and not missing:
        raise UserError(f"explain: {wanted!r}: no node of the experiment is missing")
    return found


def _reasons(each: Explanation) -> tuple[Difference, ...]:
    """The differences of the node itself; if there are none, the roles of its missing parents."""
    own = tuple(difference for difference in each.differences if difference.part != "parent")
    return own or tuple(replace(difference, stored="", wanted="is missing too") for difference in each.differences)


def _table(groups: Sequence[Sequence[Explanation]], all_lines: bool) -> Table:
    """Table with one line per group of nodes and difference."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("missing", "nearest stored", "differs in", "stored", "wanted"):
        table.add_column(column, overflow="fold")
    for group in groups:
        first = group[0]
        name = f"{first.node.kind} {first.node.name} {first.node.key[:8]}"
        if len(group) > 1:
            name += f"\nand {len(group) - 1} more"
        if first.nearest is None:
            table.add_row(escape(name), f"[dim]no {first.node.kind} node is stored[/]", "", "", "")
            continue
        nearest = f"{first.name} {first.nearest[:8]}"
        reasons = _reasons(first)
        listed = reasons if all_lines else reasons[:MOST_DIFFERENCES]
        for at, difference in enumerate(listed):
            lead = (escape(name), escape(nearest)) if at == 0 else ("", "")
            what = f"{difference.part} {difference.name}"
            table.add_row(*lead, escape(what), escape(difference.stored), escape(difference.wanted))
        if len(listed) < len(reasons):
            table.add_row("", "", f"[dim]… and {len(reasons) - len(listed)} more[/]", "", "")
    return table
