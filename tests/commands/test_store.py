"""`cl run`, `cl report` and `cl store`, one after the other."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from rich.console import Console

from cl import cli
from cl.commands import shared
from cl.execution.store import Store


@pytest.fixture(autouse=True)
def console(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal of 80 columns, whatever the tests run in."""
    monkeypatch.setattr(shared, "console", Console(width=80, force_terminal=False, color_system=None))


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line that a command with bad input leaves."""
    assert cli.main(list(arguments)) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("cl: error: ")
    return lines[0].removeprefix("cl: error: ")


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(list(arguments)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_run_report_and_store(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = shown(capsys, "run", "toy.yaml")
    assert "train nodes: 2 asked for, 2 distinct, 2 executed in this call" in found
    assert "mlflow   switched off (tracking.uri: none)" in found
    assert "Everything is stored." in shown(capsys, "plan", "toy.yaml")

    page = Path("results/toy/report.html")
    assert json.loads(Path("results/toy/results.json").read_text())["command"] == "cl run toy.yaml"
    assert (len(Path("results/toy/R-finetune-english-german-seed0.csv").read_text().splitlines())) == 1 + 3 * 2
    page.unlink()
    shown(capsys, "report", "results/toy/results.json")
    assert page.stat().st_size > 10_000

    listed = shown(capsys, "store", "ls")
    assert max(map(len, listed.splitlines())) <= 80
    assert "9 nodes, " in listed
    assert "nobody" not in listed
    assert shown(capsys, "store", "verify") == "9 nodes are whole\n"

    store = Store("store")
    store.needed.drop("toy")
    store.needed.add("toy", [record.key for record in store.records() if record.identity["kind"] != "evaluate"])
    assert "nobody" in shown(capsys, "store", "ls")
    assert shown(capsys, "store", "gc", "--dry-run").startswith("3 nodes, ")
    assert len(store.keys()) == 9
    assert shown(capsys, "store", "gc").startswith("3 nodes, ")
    assert len(store.keys()) == 6

    damaged = store.keys()[0]
    victim = next(path for path in (toy / "store/nodes" / damaged).iterdir() if path.name != "node.json")
    victim.write_bytes(b"x")
    assert "1 damaged in store: `cl run` sets damaged nodes aside and computes them again" in told(
        capsys, "store", "verify"
    )
    shutil.rmtree(victim.parent)
    assert shown(capsys, "store", "verify") == "5 nodes are whole\n"

    assert "drop: no experiment ['tyo'] in this store; it has ['toy']" in told(capsys, "store", "gc", "--drop", "tyo")
    assert "--drop and --dry-run are for `cl store gc` only" in told(capsys, "store", "ls", "--dry-run")
    assert shown(capsys, "store", "gc", "--drop", "toy").startswith("5 nodes, ")
    assert store.keys() == []
