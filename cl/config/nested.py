"""Nested mappings of settings: dotted keys, and values that JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from cl.errors import UserError


def put(raw: dict[str, Any], key: str, value: Any) -> None:
    """Set the value at a dotted key of nested plain data."""
    *path, last = key.split(".")
    here = raw
    for name in path:
        if here.get(name) is None:
            here[name] = {}
        here = here[name]
        if not isinstance(here, dict):
            raise UserError(f"--{key}: {name} is the value {here!r} in the file and has no parts; replace it whole")
    here[last] = value


def plain(value: Any) -> Any:
    """Data for JSON, which has neither NaN nor infinity: None in their places."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
