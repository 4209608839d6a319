"""Messages of a child process: one JSON object per line on its standard output."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from cl.errors import DivergedError, UserError

Say = Callable[[dict[str, Any]], None]


def reporter() -> Say:
    """In the child: return a function that writes messages, and redirect standard output to standard error."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def say(line: dict[str, Any]) -> None:
        print(json.dumps(line), file=out, flush=True)

    return say


def messages(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """In the parent: the messages of a child.

    Raises:
        UserError: for a message {"error": text}, with its text.
        DivergedError: for a message {"diverged": [step, last finite loss]}.
    """
    for line in lines:
        said: dict[str, Any] = json.loads(line)
        if "diverged" in said:
            raise DivergedError(*said["diverged"])
        if "error" in said:
            raise UserError(said["error"])
        yield said
