"""Parts of a graph: runs by pattern, first rows, kinds; keys stay, and what chooses nothing is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl import cli
from cl.errors import UserError
from cl.graph.planner import Graph
from cl.graph.selection import Selection, selected, taken
from tests.support.training import plan, results, write_toy

STRATEGIES = {"finetune": None, "rewarm": None, "rewarm_replay_25": None}


@pytest.fixture
def graph(tmp_path: Path) -> Graph:
    return plan(write_toy(tmp_path, strategies=STRATEGIES, seeds=[0, 1], orders="all"))[0]


def chosen(graph: Graph, *arguments: str) -> Graph:
    selection, rest = taken(["run", "toyexp.yaml", *arguments, "--train.lr=1"])
    assert rest == ["run", "toyexp.yaml", "--train.lr=1"]
    return selected(graph, selection)


def names(graph: Graph) -> set[tuple[str, int, str]]:
    return {(run.strategy.label, run.seed, run.order[0]) for run in graph.runs}


def test_runs_are_chosen_by_pattern_of_each_axis(graph: Graph) -> None:
    assert len(graph.runs) == 12
    found = chosen(graph, "--only=strategies.rewarm*,seeds.1,orders.0")
    assert names(found) == {("rewarm", 1, "english"), ("rewarm_replay_25", 1, "english")}
    assert found.part is None  # whole runs, which are reported
    assert {node.key for node in found.nodes} < {node.key for node in graph.nodes}
    both = chosen(graph, "--only=strategies.rewarm,strategies.finetune,orders.1")
    assert names(both) == {(name, seed, "german") for name in ("rewarm", "finetune") for seed in (0, 1)}


@pytest.mark.parametrize(
    ("until", "stages", "rows"), [("row.1", [1], [0, 1]), ("stage.2", [1, 2], [0, 1]), ("row.0", [], [0])]
)
def test_a_part_ends_with_a_row_or_a_stage(graph: Graph, until: str, stages: list[int], rows: list[int]) -> None:
    part = chosen(graph, "--only=strategies.finetune,seeds.0,orders.0", f"--until={until}")
    (run,) = part.runs
    keys = {node.key for node in part.nodes}
    assert [plan.stage.t for plan in run.stages if plan.node.key in keys] == stages
    assert [t for t, node in run.rows.items() if node.key in keys] == rows


def test_kinds_bring_what_they_stand_on(graph: Graph) -> None:
    kinds = {node.kind for node in chosen(graph, "--only-kind=train").nodes}
    assert {"train", "data", "base", "tokenizer"} <= kinds
    assert "evaluate" not in kinds
    assert {node.kind for node in chosen(graph, "--only-kind=data").nodes} == {"data", "tokenizer"}


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("--only=strategies.ewc", r"--only: strategies\.ewc matches no run; there are finetune, rewarm"),
        ("--only=seeds.7", r"seeds\.7 matches no run; there are 0, 1"),
        ("--only=rewarm", "'rewarm' names no runs; write strategies.PATTERN"),
        ("--until=2", "--until: '2' is no place; write row.K or stage.K"),
        ("--until=row.3", r"row\.3: finetune ends with row 2"),
        ("--only-kind=trian", "--only-kind: 'trian' is unknown; did you mean 'train'"),
        ("--only-kind=gate", "--only-kind=gate: no node of toyexp is chosen"),
        ("--only=", "--only: has no value"),
    ],
)
def test_what_chooses_nothing_is_refused(graph: Graph, argument: str, error: str) -> None:
    with pytest.raises(UserError, match=error):
        chosen(graph, argument)


def test_twice_is_refused_and_so_is_another_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="--until: is given twice"):
        taken(["--until=row.1", "--until=row.2"])
    assert cli.main(["list", "models", "--until=row.1"]) == 2
    assert "are options of run, plan, explain, status, export; leave them out" in capsys.readouterr().err


def test_a_part_is_a_beginning_of_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write_toy(tmp_path, strategies={"finetune": None, "rewarm": None}))
    command = ["run", "toyexp.yaml", "--tracking.uri=none"]
    assert cli.main([*command, "--only=strategies.finetune", "--until=row.1"]) == 0
    assert "For a report leave --until and --only-kind out." in capsys.readouterr().out
    assert not (tmp_path / "results").exists()
    assert cli.main(["plan", "toyexp.yaml", "--until=stage.1"]) == 0
    out = capsys.readouterr().out
    assert "left out" in out
    assert cli.main([*command, "--only=strategies.finetune"]) == 0
    assert [run["strategy"] for run in results(tmp_path)["runs"]] == ["finetune"]
    capsys.readouterr()
    assert cli.main(["explain", "toyexp.yaml", "--only=strategies.finetune"]) == 0
    assert "Everything is stored." in capsys.readouterr().out


def test_nothing_chosen_is_all() -> None:
    assert taken(["run", "x"]) == (Selection(), ["run", "x"])
