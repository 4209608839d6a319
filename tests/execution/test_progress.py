"""The progress of unfinished nodes: written while they are computed, and read from any process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from cl.errors import DivergedError
from cl.execution import progress
from cl.execution.progress import Progress, Writer
from cl.execution.store import Store
from cl.metrics.records import Point
from tests.support.nodes import node


def now() -> Progress:
    """A quarter of a stage, in 50 seconds, by this process."""
    at = time.time()
    return Progress("train", "german", at - 50, at, 25, 100, 3.5, 900.0, socket.gethostname(), os.getpid())


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
    assert now().left == pytest.approx(150, abs=1)
    assert replace(now(), done=0).left is None
    assert now().state == "running"
    assert replace(now(), process=ended).state == "stopped"
    assert replace(now(), host="elsewhere", process=ended).state == "running"
    assert replace(now(), host="elsewhere", at=time.time() - 1000).state == "stopped"


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
