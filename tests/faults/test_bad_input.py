"""Broken inputs of `cl plan`: each is answered at once by one line and leaves nothing behind.

The inputs are drawn from their numbers (`tests/support/bad_input.py`). `CL_BAD_INPUTS=20000` tries more of them, from
`CL_BAD_INPUTS_FROM` on.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cl import cli
from cl.errors import LONGEST
from tests.support import bad_input

SECONDS = 20  # of one input; most take a tenth of a second
GROUPS = 10
INPUTS = int(os.environ.get("CL_BAD_INPUTS", "300"))
FIRST = int(os.environ.get("CL_BAD_INPUTS_FROM", "0"))


@contextmanager
def in_time(number: int) -> Iterator[None]:
    """Context that fails after SECONDS."""

    def ring(*_: Any) -> None:
        raise AssertionError(f"input {number} hangs")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("group", [0, *(pytest.param(each, marks=pytest.mark.slow) for each in range(1, GROUPS))])
def test_a_broken_input_is_told_in_one_line_and_leaves_nothing(
    group: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asks on standard input"))
    codes = set()
    for number in range(FIRST + group, FIRST + INPUTS, GROUPS):
        folder = tmp_path / str(number) / "work"
        folder.mkdir(parents=True)
        monkeypatch.chdir(folder)
        case = bad_input.write(folder, number)
        about, before = f"input {number}, {case.kind}: {case.about!r}", below(folder.parent)
        try:
            with in_time(number):
                code = cli.main(case.arguments)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{about} ends in {error!r}") from error
        told = capsys.readouterr().err
        assert code in (0, 2), about
        assert len(told.splitlines()) == (code == 2), f"{about}: {told}"
        assert len(told.rstrip("\n")) <= LONGEST, f"{about}: {told}"
        assert told.isascii() or told.encode("utf-8"), about  # no half of a surrogate pair
        assert below(folder.parent) == before, f"{about} leaves files"
        codes.add(code)
    assert 2 in codes
