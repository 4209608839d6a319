"""Specifications of nodes that measure: rows of R, probes, gates, and what a memory shows before the questions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from cl.graph.specs import Compute, Packing, Spec
from cl.probes.probe import History
from cl.registry import Named
from cl.tasks.harness import HarnessSpec


@dataclass(frozen=True)
class EmbedSpec(Spec):
    """Of an embed node: vectors of the texts of a set's split.

    Args:
        set: name of the set.
        split: `train`: questions with answers, as a memory stores them; another split: questions alone.
        batch: texts per forward pass.
        compute: device and precision.
        budget: number of examples that are embedded, evenly spaced. None: all.
        encoder: hash of the folder of a model of its own. None: the state that is a parent.
    """

    kind = "embed"
    set: str
    split: str
    batch: int
    compute: Compute
    budget: int | None = None
    encoder: str | None = None


@dataclass(frozen=True)
class RetrieveSpec(Spec):
    """Of a retrieve node: the questions of a set, each behind stored examples.

    Args:
        set: name of the set.
        method: the method that scores stored examples, with the settings that change what is shown.
        tokens: largest number of tokens of the set, counted without what is shown, as in a row of R without a memory.
        items: questions that are answered.
        packing: how tokens become rows without a memory.
        context: largest number of tokens of a row, with what is shown and its answer.
        seed: of the run, if the method draws.
        split: split whose questions are asked.
        system: text of the system turn.
        template: further arguments of the chat template.
    """

    kind = "retrieve"
    set: str
    method: Named
    tokens: int
    items: int
    packing: Packing
    context: int
    seed: int | None = None
    split: Literal["test", "validation"] = "test"
    system: str | None = None
    template: dict[str, str | bool | int] = field(default_factory=dict)


@dataclass(frozen=True)
class AmortiseSpec(Spec):
    """Of an amortise node: the network of a bank of modulations.

    Args:
        set: name of the set whose articles train the network.
        seed: of the run.
        method: the method with the settings that change the network.
        packing: how tokens become rows.
        compute: device and precision.
    """

    kind = "amortise"
    set: str
    seed: int
    method: Named
    packing: Packing
    compute: Compute


@dataclass(frozen=True)
class ModulateSpec(Spec):
    """Of a modulate node: the questions of a set, each with a prefix that a bank of documents gives.

    Args:
        set: name of the set.
        method: the method with all its settings.
        tokens: largest number of tokens of the set, as in a row of R.
        items: questions that are answered.
        packing: how tokens become rows.
        compute: device and precision.
        split: split whose questions are asked.
    """

    kind = "modulate"
    set: str
    method: Named
    tokens: int
    items: int
    packing: Packing
    compute: Compute
    split: Literal["test", "validation"] = "test"


@dataclass(frozen=True)
class EvaluateSpec(Spec):
    """Of an evaluate node: one row of R.

    Args:
        sets: names of the sets, in the order of R's columns.
        tokens: largest number of tokens per set.
        batch: rows per forward pass.
        items: questions per instruction set that are answered.
        packing: how tokens become rows.
        compute: device and precision.
        select: per set, the adapter that answers it alone; others are answered by the base model. None: all adapters.
        split: split that is measured.
        scores: names of the scores of answers (`cl.tasks.answer_scores`).
        choice_orders: orders of a question's options that its score is the mean of. None: the question's own order.
        repeat_context: how often a question stands in its prompt. None: once.
        stop: texts that end an answer.
        engine: name and version of the server that answers. None: transformers, whose version each key holds.
        harness: sets of lm-evaluation-harness.
    """

    kind = "evaluate"
    sets: tuple[str, ...]
    tokens: int
    batch: int
    items: int
    packing: Packing
    compute: Compute
    select: dict[str, str] | None = None
    split: Literal["test", "validation"] = "test"
    scores: tuple[str, ...] = ()
    choice_orders: int | None = None
    repeat_context: int | None = None
    stop: tuple[str, ...] = ()
    engine: str | None = None
    harness: tuple[HarnessSpec, ...] = ()


@dataclass(frozen=True)
class ProbeSpec(Spec):
    """Of a probe node.

    Args:
        probe: the probe with its settings.
        sets: names of the sets that it measures.
        batch: rows per forward pass.
        packing: how tokens become rows.
        compute: device and precision.
        select: per set, the adapter that is probed alone, as in the row of R. None: all adapters.
        split: split that is measured; a probe may fit on training data.
        step: the state after this optimizer step of the stage. None: the state of the row of R.
        history: how the state came about, where the probe depends on it.
    """

    kind = "probe"
    probe: Named
    sets: tuple[str, ...]
    batch: int
    packing: Packing
    compute: Compute
    select: dict[str, str] | None = None
    split: Literal["test", "validation"] = "test"
    step: int | None = None
    history: History | None = None


@dataclass(frozen=True)
class ItemwiseSpec(Spec):
    """Of an itemwise node: the metric of a state on each item, which a gate compares in pairs.

    Args:
        sets: names of the sets.
        metric: `loss`, by row, or the name of a score of answers, by question.
        tokens: largest number of tokens per set.
        items: largest number of questions per set that are answered.
        batch: rows per forward pass.
        packing: how tokens become rows.
        compute: device and precision.
        split: split that is measured.
        stop: texts that end an answer.
        engine: name and version of the server that answers. None: transformers.
    """

    kind = "itemwise"
    select: ClassVar[None] = None
    sets: tuple[str, ...]
    metric: str
    tokens: int
    items: int
    batch: int
    packing: Packing
    compute: Compute
    split: Literal["test", "validation"] = "validation"
    stop: tuple[str, ...] = ()
    engine: str | None = None


@dataclass(frozen=True)
class GateSpec(Spec):
    """Of a gate node: whether a stage's end state is promoted.

    Args:
        t: 1-based stage.
        task: name of the task that the stage learned.
        earlier: tasks of earlier stages; those that were taken must be retained.
        retained: further sets that must be retained.
        method: the gating method with its settings.
    """

    kind = "gate"
    t: int
    task: str
    earlier: tuple[str, ...]
    retained: tuple[str, ...]
    method: Named


@dataclass(frozen=True)
class PromoteSpec(Spec):
    """Of a promote node: the state or the memory that a gate decided for."""

    kind = "promote"
