"""A drawing of an experiment's graph: what is stored, what is to do, what runs share. As SVG or as Mermaid text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from xml.sax.saxutils import escape

from cl.errors import UserError
from cl.graph.node import Node
from cl.graph.planner import Graph

WIDTH, HEIGHT, GAP_X, GAP_Y, MARGIN = 190, 40, 70, 14, 20
COLOURS = {"stored": "#d9ead3", "to do": "#fff2cc"}
"""Colours of the boxes."""
KINDS = {"train": "#38761d", "evaluate": "#1f4e79", "probe": "#674ea7"}
OTHER = "#666666"
"""Colours of the frames of kinds of nodes."""


def write(graph: Graph, todo: Sequence[Node], path: Path) -> None:
    """Draw the nodes of a graph and their parents.

    Args:
        graph: the planned experiment, or a part of it.
        todo: nodes that are not stored.
        path: file to write, .svg or .mmd.

    Raises:
        UserError: for another ending, or a folder that is not there.
    """
    draw = {".svg": svg, ".mmd": mermaid}.get(path.suffix)
    if draw is None:
        raise UserError(f"--graph: {path} must end in .svg or .mmd")
    if not path.absolute().parent.is_dir():
        raise UserError(f"--graph: there is no folder {path.parent}")
    path.write_text(draw(graph, todo), encoding="utf-8")


def mermaid(graph: Graph, todo: Sequence[Node]) -> str:
    """The graph as Mermaid text, which GitHub and many editors draw."""
    waiting = {node.key for node in todo}
    lines = ["flowchart LR"]
    for node in graph.nodes:
        state = "todo" if node.key in waiting else "stored"
        lines.append(f'    {node.key}["{node.kind}: {_plain(node.name)}"]:::{state}')
    lines += [f"    {parent.key} --> {node.key}" for node in graph.nodes for parent in _parents(node)]
    lines += [f"    classDef {name.replace(' ', '')} fill:{colour}" for name, colour in COLOURS.items()]
    return "\n".join(lines) + "\n"


def svg(graph: Graph, todo: Sequence[Node]) -> str:
    """The graph as SVG: a column for each distance from the nodes without parents; the title of a box is its key."""
    waiting, places = {node.key for node in todo}, _places(graph.nodes)
    shared, labels = _shared(graph), _labels(graph)
    parts = []
    for node in graph.nodes:
        x, y = places[node.key]
        for parent in _parents(node):
            a, b = places[parent.key]
            middle, start, end = (a + WIDTH + x) / 2, b + HEIGHT / 2, y + HEIGHT / 2
            path = f"M{a + WIDTH},{start} C{middle},{start} {middle},{end} {x},{end}"
            faint = parent.kind in ("tokenizer", "data")
            parts.append(f'<path d="{path}" fill="none" stroke="{"#e4e4e4" if faint else "#888888"}"/>')
    for node in graph.nodes:
        x, y = places[node.key]
        state = "to do" if node.key in waiting else "stored"
        runs = f", shared by {shared[node.key]} runs" if shared[node.key] > 1 else ""
        thick = 3 if shared[node.key] > 1 else 1
        parts.append(
            f"<g><title>{escape(f'{node.key}: {state}{runs}')}</title>"
            f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="{COLOURS[state]}" '
            f'stroke="{KINDS.get(node.kind, OTHER)}" stroke-width="{thick}"/>'
            f'<text x="{x + 8}" y="{y + 16}" font-weight="bold">{escape(node.kind)}</text>'
            f'<text x="{x + 8}" y="{y + 32}">{escape(_short(_named(node, labels)))}</text></g>'
        )
    width = max(x for x, _ in places.values()) + WIDTH + MARGIN
    height = max(y for _, y in places.values()) + HEIGHT + MARGIN
    font = 'font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" {font}>'
    title = f"<title>{escape(graph.experiment.name)}</title>"
    return "\n".join([head, title, *parts, "</svg>"]) + "\n"


def _places(nodes: Sequence[Node]) -> dict[str, tuple[int, int]]:
    """Left upper corner of each box: one column behind the last parent, beside the parents as far as there is room."""
    columns: dict[str, int] = {}
    rows: dict[str, int] = {}
    taken: Counter[int] = Counter()
    for node in nodes:  # parents come first
        parents = _parents(node)
        column = max((columns[parent.key] + 1 for parent in parents), default=0)
        row = max(taken[column], min((rows[parent.key] for parent in parents), default=0))
        columns[node.key], rows[node.key], taken[column] = column, row, row + 1
    step_x, step_y = WIDTH + GAP_X, HEIGHT + GAP_Y
    return {key: (MARGIN + columns[key] * step_x, MARGIN + rows[key] * step_y) for key in columns}


def _parents(node: Node) -> list[Node]:
    """Parents, each once."""
    return list({parent.key: parent for parent in node.parents.values()}.values())


def _shared(graph: Graph) -> Counter[str]:
    """How many runs want each node."""
    return Counter(key for run in graph.runs for key in {node.key for node in run.wanted})


def _labels(graph: Graph) -> dict[str, set[str]]:
    """Strategies whose runs want each node."""
    found: dict[str, set[str]] = {}
    for run in graph.runs:
        for node in run.wanted:
            found.setdefault(node.key, set()).add(run.strategy.label)
    return found


def _named(node: Node, labels: dict[str, set[str]]) -> str:
    """The name of a node, with its strategy if one alone wants it."""
    own = labels.get(node.key, set())
    return f"{node.name} · {next(iter(own))}" if len(own) == 1 else node.name


def _plain(text: str) -> str:
    return text.replace('"', "'")


def _short(text: str) -> str:
    return text if len(text) <= 27 else f"{text[:26]}…"
