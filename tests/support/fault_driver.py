"""`cl` in a process in which one call that changes a file fails, or is the last before the process is killed.

FAULT="ENOSPC 17" lets the 17th call below the working directory fail with this error; "SIGKILL 17" kills the process
before it, "SIGTERM 17" asks it to end, and "POWER 17" is a loss of power: what this process has written and not forced
to the disk (fsync) is lost, in files that keep their names, and the process is killed. Counted are opening for writing,
fsync, rename, replace, mkdir, and writing of safetensors; in training as elsewhere. COUNT=FILE writes the number of
calls there.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.numpy
import safetensors.torch

import cl.steps.data
import cl.steps.train
import cl.training.checkpoint
from cl import cli, signals

HERE = str(Path.cwd())
CALLS = [0]
BEGAN = time.time_ns()
FORCED: dict[int, int] = {}
"""Files that were forced to the disk, by inode: when they had last changed, in nanoseconds."""


def struck(path: object) -> None:
    """Count a call; at the chosen one, raise the error or kill the process."""
    place = os.fspath(path) if isinstance(path, (str, os.PathLike)) else HERE  # an open file: of ours
    if isinstance(place, bytes) or not os.path.abspath(place).startswith(HERE):
        return
    CALLS[0] += 1
    what, number = os.environ.get("FAULT", "none 0").split()
    if CALLS[0] != int(number):
        return
    if what == "SIGTERM":
        os.kill(os.getpid(), signal.SIGTERM)
        return
    if what == "POWER":
        lose_what_was_not_forced()
    if what in ("POWER", "SIGKILL"):
        os.kill(os.getpid(), signal.SIGKILL)
    code = getattr(errno, what)
    raise OSError(code, os.strerror(code), str(path))


def lose_what_was_not_forced() -> None:
    """Empty the files of the working directory that have changed since they were last forced to the disk."""
    for path in Path(HERE).rglob("*"):
        if path.is_file() and path.name not in ("errors", "log"):  # where the campaign looks at this process
            found = path.stat()
            if found.st_mtime_ns > max(BEGAN, FORCED.get(found.st_ino, 0)):
                os.truncate(path, 0)


def forcing(call: Callable[[int], None]) -> Callable[[int], None]:
    """fsync that remembers the file."""

    def wrapped(file: int) -> None:
        call(file)
        found = os.fstat(file)
        FORCED[found.st_ino] = found.st_mtime_ns

    return wrapped


def counted(call: Callable[..., Any], path: Callable[..., object]) -> Callable[..., Any]:
    """The call with `struck` before it; `path` picks the path from its arguments."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        struck(path(*args, **kwargs))
        return call(*args, **kwargs)

    return wrapped


def writing(file: Any, mode: str = "r", *_: Any, **__: Any) -> object:
    """The path of a file that is opened for writing; of other files a path that is not counted."""
    return file if set(mode) & set("wax+") else "/"


def arm() -> None:
    """Replace the calls."""
    opened = counted(builtins.open, writing)
    builtins.open = io.open = opened
    for name in ("rename", "replace", "mkdir"):
        setattr(os, name, counted(getattr(os, name), lambda path, *_, **__: path))
    os.fsync = counted(forcing(os.fsync), lambda file: None)
    for users in ((safetensors.torch, cl.steps.train, cl.training.checkpoint), (safetensors.numpy, cl.steps.data)):
        saved = counted(vars(users[0])["save_file"], lambda _, path, *__, **___: path)
        for user in users:  # imported by name
            vars(user)["save_file"] = saved


if __name__ == "__main__":
    arm()
    signals.until_the_end()
    code = cli.main()
    if "COUNT" in os.environ:
        Path(os.environ["COUNT"]).write_text(str(CALLS[0]))
    sys.exit(code)
