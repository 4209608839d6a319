"""`cl` in a process that kills itself at a chosen moment, as a crash would: nothing is closed or cleaned up.

KILL="module:Class.function 3" kills at the third call of that function.
"""

from __future__ import annotations

import importlib
import itertools
import os
import signal
import sys
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
            os.kill(os.getpid(), signal.SIGKILL)
        return inner(*args, **kwargs)

    setattr(owner, name, counted)


if __name__ == "__main__":
    arm(os.environ["KILL"])
    sys.exit(cli.main())
