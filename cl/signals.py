"""Signals that end a process, SIGINT and SIGTERM, without loss of work.

The first signal ends the process where it stands, or at the end of the current optimizer step where work is not saved
yet. A second signal ends it at once, unless it is the other signal less than a second later: a terminal sends SIGINT to
all processes of a command, and a parent may send SIGTERM to its children as well. A signal that comes when the work is
done, while the interpreter shuts down, changes nothing: the exit code tells what happened.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import ClassVar

ENDING = (signal.SIGINT, signal.SIGTERM)


class Interrupted(BaseException):
    """The process was asked to end. No ordinary error, so that nothing that handles errors goes on.

    Args:
        number: number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


class _State:
    """What this process was asked, which signals it handles, and whether it has work that is not saved."""

    asked: int | None = None
    since = 0.0
    numbers: tuple[int, ...] = ()
    unsaved = False
    kept = False
    over = False
    also: ClassVar[list[Callable[[], None]]] = []


def asked() -> int | None:
    """Number of the signal that asked this process to end. None: there was none."""
    return _State.asked


def check() -> None:
    """Raises Interrupted if the process was asked to end, also where a library swallowed the exception."""
    if _State.asked is not None:
        raise Interrupted(_State.asked)


@contextmanager
def handled(*numbers: int) -> Iterator[None]:
    """Context in which signals raise Interrupted, and a second one ends the process at once.

    Does nothing outside of the main thread, which alone gets signals, and inside of another such context. A signal
    whose exception was swallowed, as by a callback of the garbage collector, is raised again soon, and at the end.

    Args:
        numbers: signals; by default SIGINT and SIGTERM.
    """
    if _State.numbers or threading.current_thread() is not threading.main_thread():
        yield
        return
    _State.numbers = numbers or ENDING
    before = {number: signal.signal(number, _handle) for number in _State.numbers}
    hook, sys.unraisablehook = sys.unraisablehook, _raise_again
    try:
        yield
        check()
    finally:
        _State.over = _State.kept
        sys.unraisablehook = hook
        for number, handler in ({} if _State.kept else before).items():
            signal.signal(number, handler)
        _State.asked, _State.numbers, _State.unsaved = None, (), False


def until_the_end() -> None:
    """Keep the handlers of the next `handled` until this process has ended. For the entry of a process."""
    _State.kept = True
    atexit.register(_ignore)  # called last, as it was registered first; the interpreter then restores what is handled


@contextmanager
def passed_on(end: Callable[[], None]) -> Iterator[None]:
    """Context in which the first signal also calls `end`, for a child process that another thread waits for."""
    _State.also.append(end)
    try:
        yield
    finally:
        _State.also.remove(end)


def take_over() -> None:
    """Handle the signals again where a library has put handlers of its own: Lightning's lose the work of a step."""
    for number in _State.numbers:
        signal.signal(number, _handle)


def unsaved(is_so: bool) -> None:
    """State whether there is work that is not saved.

    While there is, the first signal is only noted: the code that works looks at `asked`, saves and calls `check`.
    """
    _State.unsaved = is_so


def _handle(number: int, frame: FrameType | None) -> None:
    if _State.over and _State.asked is None:
        _State.asked, _State.since = number, time.monotonic()
        return
    if _State.asked is not None:
        if number != _State.asked and time.monotonic() - _State.since < 1:
            return
        os.write(2, b"\ncl: ended at once by a second signal; finished nodes and the newest checkpoint are kept\n")
        os._exit(128 + number)
    _State.asked, _State.since = number, time.monotonic()
    for end in list(_State.also):
        end()
    if not _State.unsaved:
        raise Interrupted(number)


def _ignore() -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_IGN)


def _raise_again(lost: sys.UnraisableHookArgs) -> None:
    """Raise Interrupted again in the main thread, in a moment, where Python can only print what is raised."""
    if not isinstance(lost.exc_value, Interrupted):
        sys.__unraisablehook__(lost)
        return
    number, _State.asked = lost.exc_value.number, None
    threading.Timer(0.01, signal.pthread_kill, (threading.main_thread().ident, number)).start()
