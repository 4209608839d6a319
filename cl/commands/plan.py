"""`cl plan`: the graph of an experiment and its estimated cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cl.commands.shared import build_graph, compare_with_store

if TYPE_CHECKING:
    from cl.graph.selection import Selection


def plan(name: str, settings: list[str], all_lines: bool = False, selection: Selection | None = None) -> None:
    """Print the graph of an experiment and the estimated cost of its missing nodes.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.
        all_lines: print a line for each train node.
        selection: the part of the graph that is asked for. None: all.
    """
    compare_with_store(build_graph(name, settings, selection), protect=False, all_lines=all_lines)
