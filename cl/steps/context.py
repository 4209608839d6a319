"""What a step is given besides its specification and its parents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cl.graph.specs import Local
from cl.training.recorder import Watcher


@dataclass(frozen=True)
class Context:
    """Where and how a step works. Nothing here may change its result.

    Args:
        out: empty folder for the artifacts.
        work: scratch folder that survives a crash; `out` is in it.
        watcher: is told of progress, and of the points of a curve.
        local: settings that are needed at run time and that no key holds.
        uses: folders of the data sets that in-task evaluation reads, by name.
    """

    out: Path
    work: Path
    watcher: Watcher
    local: Local | None = None
    uses: Mapping[str, Path] = field(default_factory=dict)
