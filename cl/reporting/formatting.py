"""Numbers as text for people: durations, counts, measured values and nested settings."""

from __future__ import annotations

import math
from typing import Any

ABSENT = "–"


def duration(seconds: float) -> str:
    """Seconds in a readable unit: "<1 s", "42 s", "7.4 min", "42 min", "3.1 h"."""
    if seconds < 100:
        return f"{seconds:.0f} s" if seconds >= 1 else "<1 s"
    minutes = seconds / 60
    if minutes < 100:
        return f"{minutes:.1f} min" if minutes < 10 else f"{minutes:.0f} min"
    return f"{minutes / 60:.1f} h"


def abbreviated(count: float) -> str:
    """A count in three digits with a unit prefix: "4 M", "12.3 k"."""
    for prefix, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if abs(count) >= size:
            return f"{count / size:.3g} {prefix}"
    return f"{count:.0f}"


def thousands(value: Any) -> str:
    """A whole number with thin spaces between thousands; any other value as `plain` writes it."""
    return f"{value:,}".replace(",", "\u2009") if isinstance(value, int) else plain(value)


def significant(value: Any, digits: int = 3) -> str:
    """A float with `digits` significant digits; a dash for None and NaN; other values unchanged."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ABSENT
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def fixed(value: float | None, digits: int = 3) -> str:
    """A number with `digits` decimal places; a dash for None."""
    return ABSENT if value is None else f"{value:.{digits}f}"


def plain(value: Any) -> str:
    """A nested value as text: lists with commas, dicts as "key: value"; a dash for None and for nothing."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain(item)}" for key, item in value.items()) or ABSENT
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value) or ABSENT
    return significant(value)
