"""Checks of plain values that every group of settings shares: what JSON can hold, and what a file can be named."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from typing import Any

from cl import yaml_text
from cl.errors import UserError

LONGEST_NAME, LONGEST_PATH = 255, 4096
"""Bytes of a file's name and of a path on Linux (NAME_MAX, PATH_MAX in limits.h)."""
ADDED = 55
"""Bytes that are kept free in names from which file names are made, for endings such as `.json.lock`."""
MOST_AMOUNT = 10**13
"""Largest number of tokens or examples: more than any corpus has."""
SEEDS = 2**32
"""Seeds are below it, because those of NumPy are."""


def require_plain(value: Any, where: str) -> None:
    """Check that a value and everything in it is what JSON can hold: no NaN, no infinity, no date, and keys are text.

    Args:
        value: plain data.
        where: dotted key of the value, with which an error message begins.

    Raises:
        UserError: with the dotted key of the part that is wrong.
    """
    if isinstance(value, Mapping):
        for key, each in value.items():
            require_text(key, where)
            require_plain(each, f"{where}.{key}" if where else key)
    elif isinstance(value, list | tuple):
        for place, each in enumerate(value):
            require_plain(each, f"{where}[{place}]")
    elif isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{where}: {value} is not a finite number; give one")
    elif isinstance(value, str):
        yaml_text.require_bounded(value, where)  # jsonargparse reads texts as YAML where no text is wanted
    elif value is not None and not isinstance(value, int | float):
        raise UserError(f"{where}: {value} is a {type(value).__name__} in YAML; write it in quotes")


def require_text(key: Any, where: str) -> None:
    """Check that a key is text.

    Raises:
        UserError: for a number, date or truth value.
    """
    if not isinstance(key, str):
        place = where or "the top level"
        raise UserError(f"{place}: the name {key!r} is a number, date or truth value in YAML; write it in quotes")


def require_file_name(name: str, where: str) -> None:
    """Check that files can be named after a name.

    Raises:
        UserError: for a name that holds other characters, or that is too long.
    """
    if not re.fullmatch(r"\w[\w.\-]*", name):
        raise UserError(f"{where}: {name!r} is used in file names; use only letters, digits, _ - and .")
    if (size := len(os.fsencode(name))) > LONGEST_NAME - ADDED:
        raise UserError(
            f"{where}: {name!r} has {size} bytes; names of files may have {LONGEST_NAME - ADDED}: shorten it"
        )


def require_path(path: str | None, where: str) -> None:
    """Check that a path, a URL or a name of something is one that a system can look up.

    Raises:
        UserError: for an empty path, one with a control character, and one that is too long.
    """
    if path is None:
        return
    if not path.strip() or not path.replace("/", "").replace(" ", "x").isprintable():
        raise UserError(f"{where}: {path!r} is no path; write one without line breaks and control characters")
    size = max(len(part.encode()) for part in path.split("/"))
    if size > LONGEST_NAME or len(path.encode()) >= LONGEST_PATH:
        raise UserError(f"{where}: {path!r} is too long for a path, whose parts have at most {LONGEST_NAME} bytes")


def require_between(settings: object, group: str, **bounds: tuple[int, int]) -> None:
    """Check whole numbers of a group of settings; what is not set is not checked.

    Args:
        settings: the group.
        group: dotted key of the group, without a final dot; empty for the top level.
        bounds: smallest and largest value by name of the setting.

    Raises:
        UserError: for the first number outside of its bounds.
    """
    for name, (least, most) in bounds.items():
        value, where = getattr(settings, name), f"{group}.{name}" if group else name
        if value is not None and value < least:
            raise UserError(f"{where}: {value} must be at least {least}")
        if value is not None and value > most:
            raise UserError(f"{where}: {value} must be at most {most}")


def require_amount(amount: int | Mapping[str, int] | None, where: str) -> None:
    """Check a budget of tokens or examples, for all tasks or by task.

    Raises:
        UserError: for a budget below 1 or above MOST_AMOUNT.
    """
    if isinstance(amount, Mapping):
        for task, each in amount.items():
            require_amount(each, f"{where}.{task}")
    elif amount is not None and not 1 <= amount <= MOST_AMOUNT:
        raise UserError(f"{where}: {amount} must be at least 1 and at most {MOST_AMOUNT:.0e}")
