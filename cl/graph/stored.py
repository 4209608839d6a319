"""What a stored node's computation returned, read from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def result_of(folder: Path) -> dict[str, Any]:
    """What a stored node's computation returned, from its folder."""
    result: dict[str, Any] = json.loads((folder / "node.json").read_text(encoding="utf-8"))["result"]
    return result
