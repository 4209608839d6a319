"""Signals: the first ends the process where nothing is lost, the second at once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from _pytest.raises import RaisesExc

from cl import signals


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    signal.getsignal(number)  # any call: Python handles a signal between two of them


def interrupted() -> RaisesExc[signals.Interrupted]:
    return pytest.raises(signals.Interrupted)


@pytest.mark.parametrize("number", signals.ENDING)
def test_the_first_signal_ends_what_has_nothing_to_save(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(signals.Interrupted) as caught, signals.handled():
        send(number)
    assert caught.value.number == number
    assert signal.getsignal(number) is before
    assert signals.asked() is None


def test_unsaved_work_is_saved_first() -> None:
    with interrupted(), signals.handled():
        signals.unsaved(True)
        send(signal.SIGTERM)
        assert signals.asked() == signal.SIGTERM
        signals.check()


def test_a_second_signal_ends_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[int] = []
    monkeypatch.setattr(os, "_exit", ended.append)
    with interrupted(), signals.handled():
        signals.unsaved(True)
        send(signal.SIGINT)
        send(signal.SIGTERM)  # the same wish, by a parent
        assert ended == []
        send(signal.SIGINT)
    assert ended == [128 + signal.SIGINT]


def test_a_signal_that_was_swallowed_is_told_at_the_end() -> None:
    with pytest.raises(signals.Interrupted), signals.handled(), contextlib.suppress(BaseException):
        send(signal.SIGTERM)


@pytest.mark.filterwarnings("error")
def test_a_signal_inside_of_a_finalizer_is_raised_after_it() -> None:
    class Finalized:
        def __del__(self) -> None:
            send(signal.SIGINT)  # Python prints what is raised here, and goes on

    began = time.monotonic()
    with interrupted(), signals.handled():
        Finalized()
        time.sleep(60)
    assert time.monotonic() - began < 30


@pytest.mark.parametrize("number", signals.ENDING)
def test_a_signal_while_the_interpreter_shuts_down_changes_nothing(number: int) -> None:
    program = f"""
import atexit, os, sys
from cl import cli
class Last:
    def __del__(self, kill=os.kill, process=os.getpid()):
        kill(process, {int(number)})
sys.modules["zz_last"] = Last()
cli.list_models = Last()
atexit.register(os.kill, os.getpid(), {int(number)})
sys.argv = ["cl", "list", "models"]
cli.process()
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "llama-tiny" in ended.stdout


def test_a_child_that_another_thread_waits_for_is_told() -> None:
    told: list[str] = []
    with pytest.raises(signals.Interrupted), signals.handled(), signals.passed_on(lambda: told.append("end")):
        send(signal.SIGTERM)
    assert told == ["end"]


def test_a_handler_of_a_library_is_replaced() -> None:
    with interrupted(), signals.handled():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signals.take_over()
        send(signal.SIGTERM)


def test_other_threads_change_no_handler() -> None:
    before = signal.getsignal(signal.SIGTERM)
    found: list[object] = []

    def run() -> None:
        with signals.handled():
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [before]
