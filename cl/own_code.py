"""Which code of users may run: none but that of installed entry points, unless the user allows it.

A file names a class of the user's own as "package.module:Class". Importing a module runs it, so a file from somebody
else could run anything. `--allow-code=FOLDER` allows modules in a folder, `--allow-code` any module, also of the
working directory. The environment variable hands this on to processes that `cl` starts.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cl.errors import UserError

VARIABLE = "CL_ALLOW_CODE"
OPTION = "--allow-code"
ANY = "*"
OURS = ("cl", "strategies", "scenarios")
KINDS = ("methods", "sources", "probes")


def taken(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate the option from the arguments of a command.

    Returns:
        Allowed folders, or ANY; and the other arguments.

    Raises:
        UserError: for a folder that does not exist.
    """
    mine = [each for each in arguments if each == OPTION or each.startswith(f"{OPTION}=")]
    folders = [each.partition("=")[2] or ANY for each in mine]
    for folder in folders:
        if folder != ANY and not Path(folder).is_dir():
            raise UserError(f"{OPTION}: there is no folder {folder!r}; name the one that holds the module")
    return folders, [each for each in arguments if each not in mine]


@contextmanager
def allowed(folders: Sequence[str]) -> Iterator[None]:
    """Context in which code of these folders may run, besides that which the environment allows."""
    before = os.environ.get(VARIABLE)
    full = [folder if folder == ANY else str(Path(folder).resolve()) for folder in folders]
    hand_on(os.pathsep.join([*([before] if before else []), *full]))
    try:
        yield
    finally:
        hand_on(before)


def hand_on(value: str | None) -> None:
    """Set the environment variable as another process had it."""
    if value:
        os.environ[VARIABLE] = value
    else:
        os.environ.pop(VARIABLE, None)


def entry_points(kind: str) -> dict[str, str]:
    """Classes that installed packages offer, by name, as "module:Class": the entry points of group `cl.KIND`."""
    return {point.name: point.value for point in importlib.metadata.entry_points(group=f"cl.{kind}")}


def check(path: str, where: str) -> None:
    """Put the allowed folders on the import path, and check that a module may be imported. Imports nothing.

    Args:
        path: "package.module:NAME".
        where: place in the configuration, with which an error message begins.

    Raises:
        UserError: if it may not.
    """
    named = [each for each in os.environ.get(VARIABLE, "").split(os.pathsep) if each]
    folders = [os.getcwd() if each == ANY else each for each in named]
    sys.path.extend(folder for folder in folders if folder not in sys.path)
    top = path.partition(":")[0].partition(".")[0]
    if top in OURS or ANY in named or path in (each for kind in KINDS for each in entry_points(kind).values()):
        return
    if not any(_holds(folder, top) for folder in folders):
        remedy = f"read it, then add {OPTION}=FOLDER with its folder"
        raise UserError(f"{where}: {path!r} is code from outside of this project; {remedy}")


def _holds(folder: str, top: str) -> bool:
    """Whether a folder is where a package or module would be imported from."""
    spec = importlib.machinery.PathFinder.find_spec(top)
    if spec is None:
        return False
    places = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
    return any(Path(place).resolve().is_relative_to(Path(folder).resolve()) for place in places)
