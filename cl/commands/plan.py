"""`cl plan`: the graph of an experiment, and what executing it would cost."""

from __future__ import annotations

from cl.commands.shared import build_graph, compare_with_store


def plan(name: str, settings: list[str], all_lines: bool = False) -> None:
    """Print the graph of an experiment and what executing it would cost; `all_lines`: every train node."""
    compare_with_store(build_graph(name, settings), protect=False, all_lines=all_lines)
