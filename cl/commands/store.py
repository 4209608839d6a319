"""`cl store`: list nodes, verify files, delete nodes that no experiment needs."""

from __future__ import annotations

from rich.markup import escape
from rich.progress import track
from rich.table import Table

from cl.commands.shared import console
from cl.errors import UserError
from cl.execution import garbage, verification
from cl.execution.store import Store
from cl.redaction import redacted


def store(action: str, url: str, drop: list[str], dry_run: bool) -> None:
    """List the nodes of a store, check their files, or delete nodes that no experiment needs.

    Args:
        action: `ls`, `verify` or `gc`.
        url: folder or URL of the store.
        drop: experiments whose nodes are no longer needed, for `gc`.
        dry_run: only print how much `gc` would delete.

    Raises:
        UserError: if there is no store at `url`, for options that the action does not have, and for damaged nodes.
    """
    found = Store(url)
    verification.check_is_store(found)
    if action != "gc" and (drop or dry_run):
        raise UserError(f"store {action}: --drop and --dry-run are for `cl store gc` only; leave them out")
    if action == "ls":
        _list_store(found)
    elif action == "verify":
        _verify_store(found)
    else:
        keys = garbage.find(found, drop)
        size = sum(map(found.size, keys)) if dry_run else garbage.delete(found, drop)
        done = "would be deleted" if dry_run else "deleted, including unfinished work that no experiment needs"
        console.print(f"{len(keys)} nodes, {size / 1e6:.1f} MB {done}")


def _verify_store(found: Store) -> None:
    """Check the records and files of all nodes, and that nothing else lies among them."""
    keys = found.folders()
    bar = track(keys, "verify", console=console, transient=True, disable=not console.is_terminal)
    bad = {key: wrong for key in bar if (wrong := verification.verify(found, key))}
    bad |= {name: ["is no node"] for name in found.names() if name not in keys}
    for name, wrong in bad.items():
        console.print(f"[red]damaged[/] {escape(name)}: {escape(', '.join(wrong))}")
    _, damaged = found.needed.all()
    for file in damaged:
        console.print(f"[red]damaged[/] {escape(file)}: what an experiment needs; `cl run` of it writes it again")
    if bad or damaged:
        again = "`cl run` sets damaged nodes aside and computes them again; delete what is no node"
        raise UserError(f"store: {len(bad) + len(damaged)} damaged in {redacted(found.url)}: {again}")
    console.print(f"{len(keys)} nodes are whole")


def _list_store(found: Store) -> None:
    """Print one line per node, oldest first."""
    users: dict[str, list[str]] = {}
    needed, damaged = found.needed.all()
    for name, keys in needed.items():
        for key in sorted(keys):
            users.setdefault(key, []).append(name)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("key", "kind", "name", "MB", "seconds", "created (UTC)", "used by"):
        words, figures = column in ("name", "used by"), column in ("MB", "seconds")
        table.add_column(column, no_wrap=not words, overflow="fold", justify="right" if figures else "left")
    records = sorted(found.records(), key=lambda record: record.created)
    sizes = [found.size(record.key) for record in records]
    for record, size in zip(records, sizes, strict=True):
        key, created = record.key, record.created[:16].replace("T", " ")
        used = escape(", ".join(users.get(key, []))) or "[dim]nobody[/]"
        seconds = f"{record.result['seconds_in_all']:.1f}"
        kind, name = record.identity["kind"], escape(record.name)
        table.add_row(key[:8], kind, name, f"{size / 1e6:.1f}", seconds, created, used)
    console.print(table)
    for file in damaged:
        console.print(f"[yellow]damaged[/] {escape(file)}: what an experiment needs; `cl run` of it writes it again")
    console.print(f"{len(records)} nodes, {sum(sizes) / 1e6:.1f} MB")
