"""Entry point of the scripts of experiments: bad input gives one line and exit code 2, as for `cl`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from cl.errors import UserError


def run(main: Callable[[list[str]], None]) -> None:
    """Run `main` with the settings of the command line."""
    try:
        main(sys.argv[1:])
    except UserError as error:
        print(f"{Path(sys.argv[0]).stem}: error: {error}", file=sys.stderr)
        sys.exit(2)
