"""`cl` in a process that sends itself a signal at a chosen moment.

KILL="module:Class.function 3" does so at the third call of that function. The signal is that of SIGNAL: by default
SIGKILL, as in a crash, where nothing is closed or cleaned up. TWICE=1 sends it twice.
"""

from __future__ import annotations

import importlib
import itertools
import os
import signal
from typing import Any

from cl import cli


def arm(moment: str) -> None:
    """Replace the function by one that counts its calls and kills the process at the last."""
    place, count = moment.split()
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for cls in classes:
        owner = getattr(owner, cls)
    inner, calls = getattr(owner, name), itertools.count(1)

    def counted(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == int(count):
            number = signal.Signals[os.environ.get("SIGNAL", "SIGKILL")]
            for _ in range(2 if "TWICE" in os.environ else 1):
                os.kill(os.getpid(), number)
        return inner(*args, **kwargs)

    setattr(owner, name, counted)


if __name__ == "__main__":
    arm(os.environ["KILL"])
    cli.process()
