"""Nested mappings of settings: dotted keys, and values that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cl.errors import UserError


def put(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key of nested plain data, in place.

    Args:
        raw: nested data.
        key: dotted key; missing levels are created.
        value: new value.

    Raises:
        UserError: if a level of the key holds a value that is not a mapping.
    """
    *path, last = key.split(".")
    here = raw
    for name in path:
        if here.get(name) is None:
            here[name] = {}
        here = here[name]
        if not isinstance(here, dict):
            raise UserError(f"--{key}: {name} holds the value {here!r} and no settings of its own; set {name} itself")
    here[last] = value


def plain(value: Any) -> Any:
    """Return data for JSON, with None in place of NaN and infinity, which JSON lacks."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return nested mappings as one mapping with dotted keys.

    Args:
        nested: nested mappings.
        prefix: put before every key.
    """
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
