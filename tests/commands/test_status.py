"""`cl status` on the toy experiment: nothing yet, a part, a failure, a process that works and one that has ended."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from cl import cli
from cl.execution.progress import Progress
from tests.support.training import plan, write_strategy, write_toy


def now() -> Progress:
    """A quarter of a stage, in 50 seconds, by this process."""
    at = time.time()
    return Progress("train", "german", at - 50, at, 25, 100, 3.5, 900.0, socket.gethostname(), os.getpid())


def test_status_of_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_strategy(tmp_path, "defect", [{"tests.support.diverging:Defect": {}}])
    monkeypatch.chdir(write_toy(tmp_path, strategies={"finetune": None, "defect": None}))
    monkeypatch.setattr("cl.commands.status.console", Console(width=200, force_terminal=False, color_system=None))

    def shown(*arguments: str) -> str:
        assert cli.main(["status", *arguments]) == 0
        return capsys.readouterr().out

    assert "0 of " in shown("toyexp.yaml")
    assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none", "--until=row.1"]) == 3
    capsys.readouterr()
    graph, store = plan(tmp_path)
    german = graph.runs[0].stages[1].node
    folder = store.scratch / "work" / german.key
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "progress.json").write_text(json.dumps(vars(now())))
    found = shown("toyexp.yaml")
    assert "1 running, 1 failed, " in found
    lines = {tuple(line.split()[:3]): line for line in found.splitlines()}
    assert "25%  loss 3.500  900 tok/s  about 2.5 min left" in lines["running", "train", "german"]
    assert "broke: ZeroDivisionError: division by zero" in lines["failed", "train", "english"]
    assert any(key[:2] == ("waiting", "evaluate") for key in lines)
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    (folder / "progress.json").write_text(json.dumps(vars(replace(now(), process=process.pid))))
    assert "stopped" in shown("toyexp.yaml")
    whole = shown("--store=store")
    assert "toyexp" in whole
    assert "stopped train german" in whole
    assert cli.main(["status", "--train.lr=1"]) == 2
    assert "--train.lr: is a setting of an experiment; name one" in capsys.readouterr().err
