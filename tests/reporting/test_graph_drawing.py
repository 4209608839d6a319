"""The drawing of a graph: a box for each node, a line for each parent, and what is stored or shared."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest

from cl import cli
from cl.graph.planner import Graph
from cl.reporting import graph_drawing
from tests.support.training import plan, write_toy

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return plan(write_toy(tmp_path, strategies={"finetune": None, "rewarm": None, "rewarm_replay_25": None}))[0]


def edges(graph: Graph) -> int:
    return sum(len({parent.key for parent in node.parents.values()}) for node in graph.nodes)


def test_svg_has_every_node_and_parent_and_no_boxes_on_one_another(graph: Graph) -> None:
    todo = [node for node in graph.nodes if node.kind == "train"]
    root = ElementTree.fromstring(graph_drawing.svg(graph, todo))
    boxes = [(rect.get("x"), rect.get("y")) for rect in root.iter(f"{SVG}rect")]
    assert len(set(boxes)) == len(boxes) == len(graph.nodes)
    assert len(list(root.iter(f"{SVG}path"))) == edges(graph)
    titles = [title.text or "" for title in root.iter(f"{SVG}title")][1:]
    assert sum(": to do" in title for title in titles) == len(todo)
    first = graph.runs[1].stages[0].node
    assert f"{first.key}: to do, shared by 3 runs" in titles
    for path in root.iter(f"{SVG}path"):  # lines lead to the right
        start, end = (path.get("d") or "").split()[0][1:], (path.get("d") or "").split()[-1]
        assert float(start.split(",")[0]) < float(end.split(",")[0])


def test_mermaid_text(graph: Graph) -> None:
    lines = graph_drawing.mermaid(graph, graph.nodes[:1]).splitlines()
    assert lines[0] == "flowchart LR"
    assert sum("-->" in line for line in lines) == edges(graph)
    assert sum(line.endswith(":::todo") for line in lines) == 1
    assert sum(line.endswith(":::stored") for line in lines) == len(graph.nodes) - 1


def test_the_command_writes_it(
    graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plan", "toyexp.yaml", "--graph=graph.svg", "--only=strategies.finetune"]) == 0
    assert "graph    graph.svg" in capsys.readouterr().out
    assert ElementTree.parse("graph.svg").getroot().tag == f"{SVG}svg"
    for name, error in (("graph.png", "must end in .svg or .mmd"), ("no/graph.svg", "there is no folder no")):
        assert cli.main(["plan", "toyexp.yaml", f"--graph={name}"]) == 2
        assert error in capsys.readouterr().err
