"""What the hooks of a method are shown, and the plans that they return: see `cl.methods.method`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import torch

    from cl.data.batches import Batch
    from cl.data.sampling import Reading
    from cl.models.distillation import Teacher
    from cl.models.losses import Outputs


@dataclass(frozen=True)
class Stage:
    """One stretch of learning that becomes one train node.

    name: shown to people; tasks: what it learns, with each one's share of the stage's own rows;
    t: 1-based position in the stream, 0 for a warm-up before it; total: rows of the whole stage (of text:
    `train.sequence` tokens each; of an instruction task: examples), of which this node trains the part from `start` to
    `stop` (fractions);
    parent: index of the stage whose end state it starts from, None = the base model; row: row of R that its end
    state fills, None = not evaluated; continues: it goes on inside its parent's stage (same data order, optimizer
    state kept), as an annealing fork does; phase: only the methods of that phase act in it: `learn`, or `sft` or `dpo`,
    which align what was learned.
    """

    name: str
    tasks: Mapping[str, float]
    t: int
    total: float
    parent: int | None
    row: int | None
    start: float = 0.0
    stop: float = 1.0
    continues: bool = False
    phase: str = "learn"


@dataclass(frozen=True)
class Teaching:
    """Which model teaches in a stage, and how what it says reaches the learner.

    of: the `base` model, or the `previous` one, with which the stage starts. mode: `frozen_copy`, a second model beside
    the one that learns; `adapter_off`, the same model without its adapters, where that is the teacher; `cache_hidden`,
    its final hidden states, computed once per experiment in a node of their own and put through its output layer;
    `cache_sampled` and `cache_top_k`: of each token `count` ids, drawn at random or the likeliest, at `temperature`.
    """

    of: Literal["base", "previous"]
    mode: Literal["frozen_copy", "adapter_off", "cache_hidden", "cache_sampled", "cache_top_k"]
    count: int = 64
    temperature: float = 1.0

    @property
    def cached(self) -> bool:
        """Whether a node computes it before the stage."""
        return self.mode.startswith("cache")


@dataclass(frozen=True)
class Progress:
    """Where in its stage a step is: `step` of `total` optimizer steps (0-based) in stage `t` (1-based)."""

    step: int
    total: int
    t: int


@dataclass(frozen=True)
class MicroBatch:
    """What `loss_terms` sees: the model, the rows of a micro-batch, and the 0-based optimizer step.

    outputs: what the model made of the learned tokens, as the task loss was computed from it, so a term costs no second
    forward pass; under: the same rows in evaluation mode and without a graph, with other values of some parameters, by
    name: what an earlier model makes of them; readings: what the first column of the batch's `origin` counts; teacher:
    what the teacher that the method asked for says of the same tokens.
    """

    model: Any
    batch: Batch
    step: int
    outputs: Outputs
    under: Callable[[Mapping[str, torch.Tensor]], Outputs]
    readings: Sequence[Reading] = ()
    teacher: Callable[[], Teacher] | None = None


@dataclass(frozen=True)
class Step:
    """What `step_terms` and `after_backward` see of an optimizer step (0-based).

    taken: the rows that methods took out of the task loss, None where there are none; readings: what the first column
    of a batch's `origin` counts; outputs: what the model makes of the learned tokens of some rows; loss: summed nats of
    some rows.
    """

    model: Any
    step: int
    taken: Batch | None
    readings: Sequence[Reading]
    outputs: Callable[[Batch], Outputs]
    loss: Callable[[Batch], torch.Tensor]
    rollouts: Callable[[Sequence[torch.Tensor], int, int], list[list[int]]]


@dataclass(frozen=True)
class Learned:
    """What `consolidate` sees after stage t; `survey` is shown the same before its first step.

    model: in evaluation mode, with the parameters that are trained requiring gradients; t: 1-based; tensors: the
    method's own state at the end of the stage; memory: what it returned after the stage before, empty after the
    first; loss: summed nats of a batch; outputs: what the model makes of its learned tokens; batches: rows of the
    stage's own training data, in a fixed order, that many to a batch; tasks: their names, as `origin` counts them;
    as_trained: the precision in which the stage trains, as a context, where fp32 is not what is wanted.
    """

    model: Any
    t: int
    tensors: Mapping[str, torch.Tensor]
    memory: Mapping[str, torch.Tensor]
    loss: Callable[[Batch], torch.Tensor]
    outputs: Callable[[Batch], Outputs]
    batches: Callable[[int], Iterator[Batch]]
    tasks: Sequence[str]
    as_trained: Callable[[], AbstractContextManager[Any]] = nullcontext


class Candidates(Protocol):
    """Examples of a general set's training split, among which a method chooses what to learn from.

    seed: of the run.
    """

    seed: int

    def __len__(self) -> int:
        """Number of examples."""

    def nll(self, templated: bool, whole: bool) -> torch.Tensor:
        """Mean nats per token [n] under the model that was learned: of the answer, or of the whole example.

        templated: in the model's chat template, else as plain text. Of a preference, with the better answer.
        """
