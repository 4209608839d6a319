"""The progress of unfinished nodes: written while they are computed, and read from any process."""

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

from cl import cli
from cl.errors import DivergedError
from cl.execution import progress
from cl.execution.progress import Progress, Writer
from cl.execution.store import Store
from cl.metrics.records import Point
from tests.support.nodes import node
from tests.support.training import plan, write_strategy, write_toy

NOW = Progress("train", "german", time.time() - 50, time.time(), 25, 100, 3.5, 900.0, socket.gethostname(), os.getpid())


@pytest.fixture
def ended() -> int:
    """The number of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return process.pid


def test_it_is_written_now_and_then_and_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, one = Store(tmp_path), node("train", {})
    work = tmp_path / "work" / one.key
    work.mkdir(parents=True)
    writer = Writer(one, work)
    first = progress.of(store, one.key)
    assert first is not None
    assert (first.kind, first.name, first.done, first.state) == ("train", one.name, 0, "running")
    writer.point(Point(1, 100, 0.5, loss=2.0))
    writer.progress(1, 4)
    assert progress.of(store, one.key) == first  # too soon
    monkeypatch.setattr(progress, "PATIENCE", 0.0)
    writer.progress(2, 4)
    assert (found := progress.unfinished(store)[one.key]).done == 2
    assert (found.loss, found.tokens_per_second) == (2.0, 200.0)
    assert [file.name for file in work.iterdir()] == ["progress.json"]


def test_time_left_and_whether_the_process_lives(ended: int) -> None:
    assert NOW.left == pytest.approx(150, abs=1)
    assert replace(NOW, done=0).left is None
    assert NOW.state == "running"
    assert replace(NOW, process=ended).state == "stopped"
    assert replace(NOW, host="elsewhere", process=ended).state == "running"
    assert replace(NOW, host="elsewhere", at=time.time() - 1000).state == "stopped"


@pytest.mark.parametrize("content", ["", "{", "[]", '{"kind": "train"}'])
def test_a_damaged_file_is_no_progress(tmp_path: Path, content: str) -> None:
    (tmp_path / "work" / "key").mkdir(parents=True)
    (tmp_path / "work" / "key" / "progress.json").write_text(content)
    assert progress.of(Store(tmp_path), "key") is None
    assert progress.of(Store(tmp_path), "other") is None


def test_what_failed_is_kept_in_a_line_and_a_traceback(tmp_path: Path) -> None:
    store, one = Store(tmp_path), node("train", {})
    assert progress.failure(store, one.key) is None
    assert progress.failed(store, one, ValueError("no\nsuch")).startswith("broke: ValueError: no such; traceback in")
    assert progress.failed(store, one, DivergedError(3, 2.0)) == progress.failure(store, one.key)
    assert "diverged at step 3" in str(progress.failure(store, one.key))


def test_status_of_an_experiment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ended: int
) -> None:
    write_strategy(tmp_path, "defect", [{"tests.support.diverging:Defect": {}}])
    monkeypatch.chdir(write_toy(tmp_path, strategies={"finetune": None, "defect": None}))
    monkeypatch.setenv("COLUMNS", "200")

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
    (folder / "progress.json").write_text(json.dumps(vars(NOW)))
    found = shown("toyexp.yaml")
    assert "1 running, 1 failed, " in found
    lines = {tuple(line.split()[:3]): line for line in found.splitlines()}
    assert "25%  loss 3.500  900 tok/s  about 2.5 min left" in lines["running", "train", "german"]
    assert "broke: ZeroDivisionError: division by zero" in lines["failed", "train", "english"]
    assert any(key[:2] == ("waiting", "evaluate") for key in lines)
    (folder / "progress.json").write_text(json.dumps(vars(replace(NOW, process=ended))))
    assert "stopped" in shown("toyexp.yaml")
    whole = shown("--store=store")
    assert "toyexp" in whole
    assert "stopped train german" in whole
    assert cli.main(["status", "--train.lr=1"]) == 2
    assert "--train.lr: is a setting of an experiment; name one" in capsys.readouterr().err
