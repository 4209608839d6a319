"""`cl plan`: the graph of an experiment and its estimated cost."""

from __future__ import annotations

from cl.commands.shared import build_graph, compare_with_store


def plan(name: str, settings: list[str], all_lines: bool = False) -> None:
    """Print the graph of an experiment and the estimated cost of its missing nodes.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.
        all_lines: print a line for each train node.
    """
    compare_with_store(build_graph(name, settings), protect=False, all_lines=all_lines)
