"""The protocol of a probe: a measurement of a stored state that is not a score of R.

A probe is a dataclass in its own module; its fields are its settings. It declares its measures, and the report draws
the measures from the declaration. An experiment names its probes under `probes:`. Each probe has its own node, so a new
probe recomputes no other node.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from cl import construction
from cl.errors import UserError
from cl.metrics.records import Measure
from cl.registry import Named

if TYPE_CHECKING:
    from pathlib import Path

    from cl.config.model import Model
    from cl.data.rows import Rows
    from cl.models.forward import TokenLoss
    from cl.tasks.example import Example

__all__ = ["PROBES", "Beside", "Data", "History", "Measure", "Probe", "State", "Stretch", "build"]

PROBES = {
    "closed_book": "cl.probes.closed_book:ClosedBook",
    "divergence": "cl.probes.divergence:Divergence",
    "function_tokens": "cl.probes.function_tokens:FunctionTokens",
    "linear": "cl.probes.linear:Linear",
    "membership": "cl.probes.membership:Membership",
    "memorisation": "cl.probes.memorisation:Memorisation",
    "pair_preference": "cl.probes.pair_preference:PairPreference",
    "recall": "cl.probes.recall:Recall",
    "recognition": "cl.probes.recognition:Recognition",
    "segment_order": "cl.probes.segment_order:SegmentOrder",
    "template_extraction": "cl.probes.template_extraction:TemplateExtraction",
    "traps": "cl.probes.traps:Traps",
}
"""Name in an experiment -> "module:Class"; a module is imported when its probe is used."""


@dataclass(frozen=True)
class Stretch:
    """A stage that led to a state.

    Args:
        t: number of the stage.
        steps: its optimizer steps.
        tokens: its tokens; None where it is not of text, whose rows differ in length.
    """

    t: int
    steps: int
    tokens: int | None


@dataclass(frozen=True)
class History:
    """How a state came about.

    Args:
        seed: seed of the run.
        stages: the stages in order; none before any training.
    """

    seed: int
    stages: tuple[Stretch, ...] = ()


@dataclass(frozen=True)
class State:
    """The model that is probed.

    Args:
        loss: the model with its forward pass; `loss.model` is the transformers model, in evaluation mode.
        tokenizer: folder of the tokenizer.
        device: device of the model.
        batch: rows per forward pass.
        base: the base model of the run in evaluation mode, if the probe needs it (`Probe.needs_base`).
        history: how the state came about, for a probe with `reads_history`.
        references: opens the state of an earlier row of R, for each row that the probe asked for and that is no later.
        manifests: by stage, the notes on the rows that a method has edited (`Probe.manifests`).
    """

    loss: TokenLoss
    tokenizer: Path
    device: str
    batch: int
    base: TokenLoss | None = None
    history: History | None = None
    references: Mapping[int, Callable[[], State]] = field(default_factory=dict)
    manifests: Mapping[int, Sequence[Mapping[str, Any]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Beside:
    """What stands beside a probe in an experiment.

    Args:
        sets: names of the data sets that the probe will read.
        model: settings of the model.
        methods: methods of the strategy with their settings.
        apart: whether each task is answered with an adapter of its own.
    """

    sets: Sequence[str]
    model: Model
    methods: Sequence[Named]
    apart: bool


@dataclass(frozen=True)
class Data:
    """The data sets that a probe reads.

    Args:
        folders: folder of each data node by name of its set, in the order of the scenario; sets outside of the stream
            come last.
        sequence: tokens per row.
        split: split that is measured.
        lengths: tokens per row of sets whose rows have another length.
    """

    folders: Mapping[str, Path]
    sequence: int
    split: str
    lengths: Mapping[str, int] = field(default_factory=dict)

    def rows(self, name: str, split: str) -> Rows:
        """Rows of a split of a data set."""
        from cl.data.rows import rows

        return rows(self.folders[name], name, split, self.lengths.get(name, self.sequence))

    def examples(self, name: str, split: str) -> list[Example]:
        """Examples of a split of an instruction task, or questions of a reading task."""
        from cl.data.tokenization import examples

        return examples(self.folders[name], split)


class Probe:
    """A measurement of a state. Derive a frozen dataclass; its fields are the settings.

    Attributes:
        kinds: kinds of tasks that the probe reads.
        measures: figures that the probe measures.
        needs_base: whether the probe compares the state with the base model of the run, `state.base`.
        reads_outside: whether the probe also reads the sets outside of the stream: retain and general sets. It reads
            none of them where rows of R are measured on validation data, as such rows do.
        reads_general: the probe also reads the general sets of the scenario of these kinds.
        reads_history: the probe depends on the seed of the run and on the stages that led to the state.
    """

    kinds: ClassVar[tuple[str, ...]]
    measures: ClassVar[tuple[Measure, ...]]
    needs_base: ClassVar[bool] = False
    reads_outside: ClassVar[bool] = False
    reads_general: ClassVar[bool] = False
    reads_history: ClassVar[bool] = False

    def check(self, beside: Beside) -> None:
        """Check the settings beside the rest of the experiment. Called while planning, for each strategy.

        Args:
            beside: what the probe will read and measure.

        Raises:
            UserError: for settings that do not suit it.
        """

    def references(self) -> tuple[int, ...]:
        """Return the rows of R whose states the probe compares with."""
        return ()

    def manifests(self) -> tuple[int, ...]:
        """Return the stages whose edited rows the probe reads about, in every row: where there are none, nothing."""
        return ()

    def measure(self, state: State, data: Data) -> dict[str, dict[str, float]]:
        """Return the figures of each data set that can be measured: {data set: {key of a measure: value}}.

        Parts of data sets may have names of their own; they cannot be told apart by adapters of single tasks.

        Args:
            state: the model.
            data: the data sets.
        """
        raise NotImplementedError


def build(name: str, settings: Mapping[str, Any] | None) -> tuple[Named, Probe]:
    """Build a probe.

    Args:
        name: name in `PROBES`, or `package.module:Class`.
        settings: settings of the probe; None: only defaults.

    Returns:
        Name with all settings, defaults included; and the probe.

    Raises:
        UserError: for an unknown name or setting, and for a class that is not a probe or lacks a part of one.
    """
    where = f"probes.{name}"
    found = construction.build("probes", name, dict(settings or {}), where)
    if not isinstance(found, Probe) or not construction.shows_settings(type(found)):
        raise UserError(f"{where}: {name} is no cl.probes.probe.Probe in the form of a dataclass; name another class")
    lacking = [part for part in ("kinds", "measures") if not getattr(found, part, ())]
    if type(found).measure is Probe.measure:
        lacking.append("measure")
    if lacking:
        raise UserError(f"{where}: {name} does not define {' and '.join(lacking)}; add what is missing to the class")
    return Named(name, construction.settings_of(found)), found
