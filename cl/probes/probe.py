"""The protocol of a probe: a measurement of a stored state that is no score of R.

A probe is a dataclass in a file of its own; its fields are its settings. It declares what it measures, and the report
draws it from the declaration. An experiment names probes under `probes:`. A probe is a node of its own, so adding one
computes nothing else again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from cl import construction
from cl.errors import UserError
from cl.metrics.records import Measure
from cl.registry import Named

if TYPE_CHECKING:
    from pathlib import Path

    from cl.data.batches import Rows
    from cl.models.forward import TokenLoss
    from cl.tasks.example import Example

__all__ = ["PROBES", "Data", "Measure", "Probe", "State", "build"]

PROBES = {
    "linear": "cl.probes.linear:Linear",
}
"""Name in an experiment -> "module:Class"; nothing is imported before it is used."""


@dataclass(frozen=True)
class State:
    """The model that is probed.

    Args:
        loss: the model with its forward pass; `loss.model` is the transformers model, in evaluation mode.
        tokenizer: folder of the tokenizer.
        device: of the model.
        batch: rows per forward pass.
    """

    loss: TokenLoss
    tokenizer: Path
    device: str
    batch: int


@dataclass(frozen=True)
class Data:
    """The data sets that a probe reads.

    Args:
        folders: data nodes by name, in the order of the stream.
        sequence: tokens per row.
        split: split that is measured.
    """

    folders: Mapping[str, Path]
    sequence: int
    split: str

    def rows(self, name: str, split: str) -> Rows:
        """Rows of a split of a set."""
        from cl.data.batches import rows

        return rows(self.folders[name], name, split, self.sequence)

    def examples(self, name: str, split: str) -> list[Example]:
        """Examples of a split of an instruction set."""
        from cl.data.tokenization import examples

        return examples(self.folders[name], split)


class Probe:
    """A measurement of a state. Derive a frozen dataclass; its fields are the settings.

    Attributes:
        kinds: kinds of tasks that the probe reads.
        measures: the figures that it measures.
    """

    kinds: ClassVar[tuple[str, ...]]
    measures: ClassVar[tuple[Measure, ...]]

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return the figures of each set that could be measured: {set: {key of a measure: value}}."""
        raise NotImplementedError


def build(name: str, settings: Mapping[str, Any] | None) -> tuple[Named, Probe]:
    """A probe from its name, or `package.module:Class`, and its settings; and both, defaults included.

    Raises:
        UserError: for an unknown name or setting, and for a class that is no probe.
    """
    where = f"probes.{name}"
    found = construction.build("probes", name, dict(settings or {}), where)
    if not isinstance(found, Probe) or not is_dataclass(type(found)):
        raise UserError(f"{where}: {name} is no cl.probes.probe.Probe in the form of a dataclass; name another class")
    return Named(name, construction.settings_of(found)), found
