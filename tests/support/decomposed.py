"""The toy experiment with decomposed text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.training import write_strategy, write_toy

SHORT = {"shortest": 8, "cycles": 2}


def decomposed(folder: Path, *more: Any, **changes: Any) -> Path:
    """The toy experiment with decomposed text and further methods."""
    write_toy(folder, strategies={"cut": None}, tokens=4 * 32 * 12, **changes)
    write_strategy(folder, "cut", [{"rewarm_cosine": {}}, {"decomposition": SHORT}, *more])
    return folder
