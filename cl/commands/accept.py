"""`cl store accept`: declare that an edit of the code changed no result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from cl.commands.shared import build_graph, console, quiet
from cl.errors import UserError
from cl.execution.store import Store

if TYPE_CHECKING:
    from cl.execution.accept import Accepted

MOST_NAMES = 6


def accept(name: str | None, settings: list[str], dry_run: bool, undo: bool) -> None:
    """Declare that missing nodes have the results of stored nodes that differ in code alone, or revoke this.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.
        dry_run: only print the declarations.
        undo: revoke all declarations about the experiment's nodes.

    Raises:
        UserError: without an experiment.
    """
    from cl.execution import accept as acceptance

    if name is None:
        raise UserError("store accept: no experiment is named; write: cl store accept EXPERIMENT [--dry-run]")
    graph = build_graph(name, settings)
    store = Store(graph.experiment.store)
    if undo:
        keys = list(acceptance.declared(graph.nodes, store))
        for key in () if dry_run else keys:
            store.declarations.revoke(key)
        console.print(f"{len(keys)} declarations {'would be' if dry_run else 'are'} taken back")
        return
    with quiet():
        found = acceptance.acceptable(graph.nodes, store)
    if not found:
        console.print("No missing node differs from a stored one in code alone; `cl explain` says in what.")
        return
    console.print(_table(found))
    if dry_run:
        console.print(f"{len(found)} nodes would be accepted")
        return
    acceptance.declare(found, store)
    console.print(
        f"{len(found)} nodes are accepted; reports say so. To take it back: cl store accept {escape(name)} --undo"
    )


def _table(found: list[Accepted]) -> Table:
    """Table with one line per set of edited definitions."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("nodes", "edited definitions"):
        table.add_column(column, overflow="fold")
    groups: dict[tuple[str, ...], list[str]] = {}
    for each in found:
        groups.setdefault(each.definitions, []).append(f"{each.node.kind} {each.node.name}")
    for definitions, names in groups.items():
        more = f"\nand {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        table.add_row(escape("\n".join(names[:MOST_NAMES]) + more), escape("\n".join(definitions)))
    return table
