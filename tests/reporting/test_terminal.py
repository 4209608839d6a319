"""What a person sees in the terminal."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from cl import cli
from cl.commands import shared
from cl.reporting.terminal import left
from tests.support.instruction import write_stream


@pytest.fixture(autouse=True)
def console(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns, whatever the tests run in."""
    monkeypatch.setattr(shared, "console", Console(width=80, force_terminal=False, color_system=None))


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(list(arguments)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_plan_fits_80_columns_and_computes_nothing(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "plan", "toy.yaml", "--strategies={rewarm: , infinite_invsqrt: , rewarm_replay_25: }")
    lines = found.splitlines()
    assert max(map(len, lines)) <= 80
    rows = [line.split() for line in lines]
    assert ["rewarm", "english"] in [row[:2] for row in rows]
    assert any(row[-3:] == ["english", "<1", "s"] or row[-3:] == ["english", "1", "s"] for row in rows)
    (replay,) = [row for row in rows if row[:2] == ["rewarm_replay_25", "english"]]
    assert replay[-1] == "shared"
    assert "25% replay:english" in found
    assert "…" not in found
    assert "3 runs ask for 8 train nodes, of which 7 are distinct." in lines
    assert "seed" not in found
    assert not Path("store").exists()


def test_plan_has_a_table_per_order_and_seed(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "plan", "toy.yaml", "--seeds=[0,1]", "--orders=[[english, german], [german, english]]")
    titles = [line for line in found.splitlines() if "seed" in line]
    assert titles == [f"{order}, seed {seed}" for order in ("english > german", "german > english") for seed in (0, 1)]


def test_plan_lists_a_run_that_trains_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(write_stream(tmp_path, strategies={"retrieval_bm25": None}))
    found = shown(capsys, "plan", "toyexp.yaml")
    (line,) = [line for line in found.splitlines() if line.startswith("retrieval_bm25")]
    assert "none: rows of R alone" in line
    assert line.split()[-2:] == ["0", "nothing"]
    assert "1 runs ask for 0 train nodes, of which 0 are distinct." in found
    assert "To execute: 0 train nodes of 0 tokens" in found


@pytest.mark.parametrize(
    ("done", "total", "spent", "words"),
    [
        (0.0, 600.0, 20.0, "about 10 min left"),  # nothing is done: the estimate
        (10.0, 600.0, 20.0, "about 9.8 min left"),  # too little time has passed to correct it
        (60.0, 600.0, 120.0, "about 18 min left"),  # twice as slow as estimated
        (300.0, 600.0, 100.0, "about 100 s left"),  # three times as fast
        (600.0, 600.0, 700.0, ""),
    ],
)
def test_the_time_left_follows_the_speed_so_far(done: float, total: float, spent: float, words: str) -> None:
    assert left(done, total, spent) == words.replace("100 s", "1.7 min")
