"""`cl plan`: the graph of an experiment and its estimated cost."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from cl.commands.shared import build_graph, compare_with_store, console

if TYPE_CHECKING:
    from cl.graph.selection import Selection


def plan(
    name: str,
    settings: list[str],
    all_lines: bool = False,
    selection: Selection | None = None,
    drawing: str | None = None,
) -> None:
    """Print the graph of an experiment and the estimated cost of its missing nodes.

    Args:
        name: name or path of the experiment.
        settings: settings of the command line.
        all_lines: print a line for each train node.
        selection: the part of the graph that is asked for. None: all.
        drawing: file into which the graph is drawn. None: no drawing.
    """
    planned = compare_with_store(build_graph(name, settings, selection), protect=False, all_lines=all_lines)
    if drawing is not None:
        from cl.reporting import graph_drawing

        graph_drawing.write(planned.graph, planned.todo, Path(drawing))
        console.print(f"graph    {escape(drawing)}")
