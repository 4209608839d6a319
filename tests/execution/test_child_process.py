"""Messages of a child process: one a line, whatever libraries print, and an error that ends them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cl.errors import UserError
from cl.execution import child_process

CHILD = """
import os, sys
from cl.execution import child_process
print("before")
say = child_process.reporter()
print("of a library")
os.system("echo of its child")
say({"text": "zwei\\nZeilen", "number": 0.5})
print("of a library, to stderr", file=sys.stderr)
say({"done": None})
"""


def test_what_a_child_says_is_all_that_its_parent_reads() -> None:
    run = subprocess.run([sys.executable, "-u", "-c", CHILD], capture_output=True, text=True, check=True)
    before, *lines = run.stdout.splitlines()
    assert before == "before"
    assert list(child_process.messages(lines)) == [{"text": "zwei\nZeilen", "number": 0.5}, {"done": None}]
    assert [line.partition(" ")[0] for line in run.stderr.splitlines()] == ["of"] * 3


def test_an_error_of_a_child_is_one_of_its_parent() -> None:
    said = child_process.messages(['{"a": 1}\n', '{"error": "lower train.lr"}\n', '{"a": 2}\n'])
    assert next(said) == {"a": 1}
    with pytest.raises(UserError, match=r"^lower train\.lr$"):
        next(said)
