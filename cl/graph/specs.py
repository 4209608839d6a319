"""Specifications: everything but the parents and the code that can change the result of a node.

One dataclass for each kind of node. Its JSON form (`cl.graph.spec_json`) enters the node's key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from cl.config.checkpoints import Checkpoints
from cl.config.evaluation import Evaluation
from cl.config.model import Model
from cl.config.train import Optimization
from cl.methods.contexts import Teaching
from cl.registry import Named


@dataclass(frozen=True)
class Packing:
    """How tokens become rows.

    Args:
        sequence: tokens per row.
        boundaries: keep attention and positions inside documents.
        lengths: tokens per row of the sets that have rows of their own length.
    """

    sequence: int
    boundaries: bool
    lengths: tuple[tuple[str, int], ...] = ()


def row_length(packing: Packing, name: str) -> int:
    """Tokens per row of a set. A function, because a step's key covers the functions that it names."""
    return dict(packing.lengths).get(name, packing.sequence)


@dataclass(frozen=True)
class Compute:
    """How a node computes, as settled on the planning machine.

    Args:
        device: `cpu` or `cuda`.
        precision: `fp32` or `bf16`.
        compile: whether torch.compile is used.
        attention: kernel of `cl.models.attention`. None: SDPA.
    """

    device: str
    precision: str
    compile: bool = False
    attention: Literal["varlen", "flex", "flash"] | None = None


@dataclass(frozen=True)
class Local:
    """What a node needs at run time that cannot change its result, and that no key holds.

    Args:
        scenario: name or path of the scenario.
        model: the experiment's model.
        transforms: methods that transform the examples of a data node.
        evaluation: how a train node evaluates inside the stage.
        checkpoints: when a train node saves its state.
        keep_optimizer: whether a train node stores the optimizer's state.
        devices: processes of each machine that compute a train node together.
        machines: machines that compute a train node together.
        distributed: `ddp` or `fsdp`.
        snapshots: steps after which a train node also stores its state, for probes.
        packing: how a train node measures sets inside the stage: as a row of R does.
        includes: folder of the user's own tasks of a set of lm-evaluation-harness, by the set's name.
    """

    scenario: str
    model: Model
    transforms: tuple[Named, ...] = ()
    evaluation: Evaluation = field(default_factory=Evaluation)
    checkpoints: Checkpoints = field(default_factory=Checkpoints)
    keep_optimizer: bool = False
    devices: int = 1
    machines: int = 1
    distributed: Literal["ddp", "fsdp"] = "ddp"
    snapshots: tuple[int, ...] = ()
    packing: Packing | None = None
    includes: dict[str, str] = field(default_factory=dict)


def snapshot(step: int) -> str:
    """Folder, in a train node, of the state after an optimizer step of the stage."""
    return f"step-{step}"


class Spec:
    """Base of all specifications. kind: name of the kind of node that the specification is of."""

    kind: ClassVar[str]

    @property
    def device(self) -> str | None:
        """Device that the node computes on, where it uses more than the processor's basics."""
        compute: Compute | None = getattr(self, "compute", None)
        return None if compute is None else compute.device


@dataclass(frozen=True)
class TokenizerSpec(Spec):
    """Of a tokenizer node.

    Args:
        train_on: fingerprint of each task that the tokenizer is trained on; empty: it is a model's own.
        vocabulary: size of a trained vocabulary.
        source: fingerprint of the model whose tokenizer it is.
        added: tokens that are added to it.
    """

    kind = "tokenizer"
    train_on: dict[str, str]
    vocabulary: int | None = None
    source: dict[str, Any] | None = None
    added: tuple[str, ...] = ()


@dataclass(frozen=True)
class DataSpec(Spec):
    """Of a data node.

    Args:
        task: name of the set in the scenario.
        content: fingerprint of its documents and of their split.
        transforms: per transforming method, the settings that decide the examples.
        view: `plain` or `both`: examples are rendered as text.
        system: text of the system turn.
        template: further arguments of the chat template.
    """

    kind = "data"
    task: str
    content: str
    transforms: tuple[Named, ...] = ()
    view: str | None = None
    system: str | None = None
    template: dict[str, str | bool | int] = field(default_factory=dict)


@dataclass(frozen=True)
class CutSpec(Spec):
    """Of a cut node: the training text of a set, the method that cuts it, tokens per row and rows per step."""

    kind = "cut"
    set: str
    method: Named
    sequence: int
    batch: int


@dataclass(frozen=True)
class BaseSpec(Spec):
    """Of a base node.

    Args:
        source: fingerprint of the model.
        seed: of a fresh model.
        sequence: tokens per row.
        new: with what embeddings of new tokens begin, if not with the mean of their pieces.
        weights: form to which linear modules are rounded, if not fp32.
    """

    kind = "base"
    source: dict[str, Any]
    seed: int | None
    sequence: int
    new: Literal["mean"] | None = None
    weights: Literal["bf16", "8bit", "4bit"] | None = None


@dataclass(frozen=True)
class TrainSpec(Spec):
    """Of a train node.

    Args:
        t: 1-based stage, 0 for a warm-up.
        steps: optimizer steps of the whole stage.
        first: step at which this node starts.
        last: step at which this node ends.
        shares: share of each reading; they sum to 1.
        seed: of the run.
        train: settings of the optimizer and of the rows.
        compute: device, precision, compilation.
        methods: methods that act inside the stage.
        known: weight in tokens of each task that the pretrained model knows and the stage reads.
        continues: the stage goes on inside its parent's.
        optimizer: `keep` the parent's optimizer state, or `reset` it.
        weights: form in which linear modules are kept, if not fp32.
    """

    kind = "train"
    t: int
    steps: int
    first: int
    last: int
    shares: dict[str, float]
    seed: int
    train: Optimization
    compute: Compute
    methods: tuple[Named, ...] = ()
    known: dict[str, int] = field(default_factory=dict)
    continues: bool = False
    optimizer: Literal["keep", "reset"] = "reset"
    weights: Literal["bf16", "8bit", "4bit"] | None = None


@dataclass(frozen=True)
class ConsolidateSpec(Spec):
    """Of a consolidate node: the memory of a method after stage t.

    Args:
        t: 1-based stage.
        seed: of the run.
        tasks: names of the tasks that the stage learned.
        method: the method with the settings that change its memory.
        packing: how tokens become rows.
        compute: device and precision.
        state: under which name the method's own state is stored in the train node. None: the method was not active.
    """

    kind = "consolidate"
    t: int
    seed: int
    tasks: tuple[str, ...]
    method: Named
    packing: Packing
    compute: Compute
    state: str | None = None


@dataclass(frozen=True)
class MergeSpec(Spec):
    """Of a merge node: the merging method, and the number of states that it merges."""

    kind = "merge"
    method: Named
    states: int


@dataclass(frozen=True)
class SelectSpec(Spec):
    """Of a select node.

    Args:
        set: name of the set whose rows are selected.
        seed: of the run.
        method: the selecting method with the settings that change the selection.
        packing: how tokens become rows.
        compute: device and precision.
        system: text of the system turn.
        template: further arguments of the chat template.
    """

    kind = "select"
    set: str
    seed: int
    method: Named
    packing: Packing
    compute: Compute
    system: str | None = None
    template: dict[str, str | bool | int] = field(default_factory=dict)


@dataclass(frozen=True)
class TeacherSpec(Spec):
    """Of a teacher node: a teacher's predictions on the rows of one set.

    Args:
        set: name of the set.
        seed: of the reading order, and of sampled tokens.
        teaching: which predictions are kept.
        packing: how tokens become rows.
        compute: device and precision.
        positions: first and last place of the reading order that are covered. None: all rows.
    """

    kind = "teacher"
    set: str
    seed: int
    teaching: Teaching
    packing: Packing
    compute: Compute
    positions: tuple[int, int] | None = None
