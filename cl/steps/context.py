"""Argument of a step besides its specification and its parents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cl.graph.specs import Local
from cl.training.recorder import Watcher


@dataclass(frozen=True)
class Context:
    """Folders and run-time settings of a step. They must not change its result.

    Args:
        out: empty folder for artifacts.
        work: scratch folder that survives a crash; contains `out`.
        watcher: is notified of progress and of points of the training curve.
        local: settings that are needed at run time and are in no key.
        uses: folders of the data sets that evaluation inside a stage reads, by name.
    """

    out: Path
    work: Path
    watcher: Watcher
    local: Local | None = None
    uses: Mapping[str, Path] = field(default_factory=dict)
