"""States of the model at chosen steps inside a stage, for probes that follow what happens between two rows of R."""

from __future__ import annotations

import copy
import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cl import durable
from cl.graph.specs import snapshot
from cl.models import adapters


@dataclass(frozen=True)
class Snapshots:
    """Keeps the states of a stage in the scratch folder until the stage is published.

    Args:
        steps: optimizer steps after which the state is kept.
        folder: where the states are kept; survives a crash, as checkpoints do.
        parent: folder of the state before the stage, from which unchanged adapters are copied.
    """

    steps: Collection[int]
    folder: Path
    parent: Path

    def save_if_due(self, model: Any, step: int) -> None:
        """Keep the state after a step, if it is one of the chosen.

        A copy of the model is written, because writing merges the factors of a model with factored weights.
        """
        if step not in self.steps:
            return
        new, kept = self.folder / "new", self.folder / snapshot(step)
        for old in (new, kept):
            shutil.rmtree(old, ignore_errors=True)
        new.mkdir(parents=True)
        adapters.save(copy.deepcopy(model), new, self.parent)
        durable.seal(new)
        durable.rename(new, kept)

    def lacks(self, upto: int) -> bool:
        """Whether a state that was due by a step is not there or damaged: a later checkpoint cannot give it."""
        return any(step <= upto and durable.broken(self.folder / snapshot(step)) for step in self.steps)

    def publish(self, out: Path) -> None:
        """Put the states into the folder of the node; they stay here until the node is stored."""
        own = shutil.ignore_patterns(durable.CHECKSUMS)
        for step in self.steps:
            shutil.copytree(self.folder / snapshot(step), out / snapshot(step), copy_function=durable.link, ignore=own)
