"""`cl` in a process that notes in the file of LOG, by a clock that all processes share, what it has done.

A line is `began`, `step` (an optimizer step ended) or `saved` (a checkpoint or a node is on the disk), and the time.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

from cl import cli
from cl.execution.store import Store
from cl.training import checkpoint
from cl.training.learner import Learner


def note(event: str) -> None:
    with open(os.environ["LOG"], "a", encoding="utf-8") as file:
        file.write(f"{event} {time.monotonic()}\n")


def noted(call: Callable[..., Any], event: str) -> Callable[..., Any]:
    def noting(*args: Any, **kwargs: Any) -> Any:
        result = call(*args, **kwargs)
        note(event)
        return result

    return noting


if __name__ == "__main__":
    note("began")
    Learner.training_step = noted(Learner.training_step, "step")  # type: ignore[method-assign]
    checkpoint.write = noted(checkpoint.write, "saved")
    Store.publish = noted(Store.publish, "saved")  # type: ignore[method-assign]
    cli.process()
