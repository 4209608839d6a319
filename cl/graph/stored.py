"""Read a stored node from its folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

MANIFEST = "replaced.json"
"""Notes on the rows that a method has edited, in the folder of a train node."""


def result_of(folder: Path) -> dict[str, Any]:
    """The result that a stored node's computation returned."""
    return _record(folder, "result")


def identity_of(folder: Path) -> dict[str, Any]:
    """The identity of a stored node (`cl.graph.node.Node.identity`)."""
    return _record(folder, "identity")


def _record(folder: Path, part: str) -> dict[str, Any]:
    """A part of a node's record."""
    found: dict[str, Any] = json.loads((folder / "node.json").read_text(encoding="utf-8"))[part]
    return found
