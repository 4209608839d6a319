"""A step by hand: its context, and folders of parents as a store keeps them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cl.graph.specs import Local
from cl.metrics.records import Point
from cl.steps.context import Context


class Unwatched:
    """A watcher that checks what it is told and forgets it."""

    def progress(self, done: int, total: int) -> None:
        assert 0 <= done <= total

    def point(self, point: Point) -> None: ...

    def note(self, text: str) -> None: ...


def context(folder: Path, local: Local | None = None, uses: Mapping[str, Path] | None = None) -> Context:
    """Artifacts go to `folder/out`."""
    (folder / "out").mkdir(parents=True, exist_ok=True)
    return Context(folder / "out", folder, Unwatched(), local, uses or {})


def stored(folder: Path, result: Mapping[str, Any], **spec: Any) -> Path:
    """The folder of a node that returned `result`."""
    folder.mkdir(parents=True, exist_ok=True)
    record = {"identity": {"spec": spec}, "result": result}
    (folder / "node.json").write_text(json.dumps(record), encoding="utf-8")
    return folder
