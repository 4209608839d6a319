"""`cl status`: what of an experiment is stored, running, failed or waiting, from any terminal."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from cl.commands.shared import build_graph, console, quiet
from cl.errors import UserError
from cl.execution.store import Store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cl.execution.progress import Progress
    from cl.graph.node import Node
    from cl.graph.selection import Selection

MOST = 12  # waiting nodes that are listed


def status(name: str | None, settings: list[str], selection: Selection | None = None) -> None:
    """Print the state of an experiment, or of all experiments that a store knows.

    Reads the store alone; what a cluster's machines do is seen if they share its folder.

    Args:
        name: name or path of the experiment. None: all of the store.
        settings: settings of the command line; the store alone, where no experiment is named.
        selection: the part of the graph that is asked for. None: all.

    Raises:
        UserError: for other settings without an experiment.
    """
    if name is None:
        _all(Store(_url(settings)))
        return
    from cl.execution import cost_estimate, progress, runner
    from cl.reporting.formatting import duration

    graph = build_graph(name, settings, selection)
    store = Store(graph.experiment.store)
    with quiet():
        missing = runner.pending(graph.wanted, store)
        cost = cost_estimate.estimate(graph, missing, store)
    begun = {node.key: found for node in missing if (found := progress.of(store, node.key)) is not None}
    running = {key for key, found in begun.items() if found.state == "running"}
    broken = {n.key: told for n in missing if n.key not in running and (told := progress.failure(store, n.key))}
    table = _table(missing, begun, running, broken)
    waiting = [node for node in missing if node.key not in {*begun, *broken}]
    for node in waiting[:MOST]:
        table.add_row("waiting", escape(f"{node.kind} {node.name}"), f"about {duration(cost.seconds[node.key])}", "")
    stored, others = len(graph.nodes) - len(missing), len(missing) - len(running) - len(broken)
    name = escape(graph.experiment.name)
    console.print(
        f"[bold]{name}[/]: {stored} of {len(graph.nodes)} nodes stored, {len(running)} running, "
        f"{len(broken)} failed, {others} waiting"
    )
    if missing:
        console.print(table)
    if len(waiting) > MOST:
        console.print(f"[dim]… and {len(waiting) - MOST} more[/]")
    if missing:
        left = sum(found.left if (found := begun.get(n.key)) and found.left else cost.seconds[n.key] for n in missing)
        console.print(f"about {duration(left)} left, one node after another")


def _url(settings: Sequence[str]) -> str:
    """The store that settings name. Raises UserError for other settings."""
    url = "store"
    for setting in settings:
        key, _, url = setting.partition("=")
        if key != "--store":
            raise UserError(f"{key}: is a setting of an experiment; name one, or give --store=URL alone")
    return url


def _table(missing: Sequence[Node], begun: dict[str, Progress], running: set[str], broken: dict[str, str]) -> Table:
    """A line for each node that was begun or has failed."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("state", "node", "progress", "where"):
        table.add_column(column, overflow="fold")
    for node in missing:
        name = escape(f"{node.kind} {node.name}")
        if node.key in broken:
            table.add_row("[red]failed[/]", name, escape(broken[node.key]), "")
        elif node.key in begun:
            state = "[green]running[/]" if node.key in running else "[yellow]stopped[/]"
            table.add_row(state, name, *_words(begun[node.key], node.key in running))
    return table


def _words(found: Progress, lives: bool) -> tuple[str, str]:
    """How far a node is, and where."""
    from cl.reporting.formatting import duration

    parts = [f"{found.done / found.total:.0%}"] if found.total else []
    parts += [f"loss {found.loss:.3f}"] if found.loss is not None else []
    parts += [f"{found.tokens_per_second:,.0f} tok/s"] if found.tokens_per_second else []
    parts += [f"about {duration(found.left)} left"] if lives and found.left else []
    parts += [] if lives else [f"{duration(time.time() - found.at)} ago; the same command goes on"]
    return "  ".join(parts), escape(f"process {found.process} on {found.host}")


def _all(store: Store) -> None:
    """A line per experiment of a store, and its unfinished nodes."""
    from cl.execution import progress, verification

    verification.check_is_store(store)
    needed, _ = store.needed.all()
    there, begun = set(store.folders()), progress.unfinished(store)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("experiment", "nodes", "stored", "running"):
        table.add_column(column, justify="left" if column == "experiment" else "right")
    for name, keys in sorted(needed.items()):
        lives = sum(begun[key].state == "running" for key in keys & begun.keys())
        table.add_row(escape(name), str(len(keys)), str(len(keys & there)), str(lives))
    console.print(table)
    for found in begun.values():
        words, where = _words(found, found.state == "running")
        console.print(f"{found.state} {escape(found.kind)} {escape(found.name)}  {words}  {where}")
