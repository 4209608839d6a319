"""Arguments of a method's hooks, and the plans that planning hooks return: see `cl.methods.method`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import torch

    from cl.data.batches import Batch
    from cl.data.rows import Row
    from cl.data.sampling import Reading
    from cl.models.distillation import Teacher
    from cl.models.losses import Outputs


@dataclass(frozen=True)
class Stage:
    """One stage of the stream; it becomes one train node.

    Args:
        name: name for display.
        tasks: learned tasks, with the share of each in the stage's own rows.
        t: 1-based position in the stream; 0 for a warm-up before the stream.
        total: rows of the whole stage: of text `train.sequence` tokens each, of an instruction task examples.
        parent: index of the stage whose end state this stage starts from. None: the base model.
        row: row of R that the end state fills. None: not evaluated.
        start: fraction of the stage at which this node starts.
        stop: fraction of the stage at which this node stops.
        continues: the node goes on inside its parent's stage (same data order, optimizer state kept), as an annealing
            fork does.
        phase: only methods of this phase act in the stage: `learn`, or `sft` or `dpo` to align the learned model.
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
    """The teacher of a stage, and how its predictions are obtained.

    Args:
        of: the `base` model, or the `previous` model, from which the stage starts.
        mode: `frozen_copy`: a second model in memory; `adapter_off`: the trained model without its adapters, if that is
            the teacher; `cache_hidden`: final hidden states, computed once per experiment in a teacher node and passed
            through the teacher's output layer during training; `cache_sampled` and `cache_top_k`: per token, `count`
            ids drawn at random or the most likely ids.
        count: ids kept per token.
        temperature: softmax temperature at which ids are drawn or ranked.
    """

    of: Literal["base", "previous"]
    mode: Literal["frozen_copy", "adapter_off", "cache_hidden", "cache_sampled", "cache_top_k"]
    count: int = 64
    temperature: float = 1.0

    @property
    def cached(self) -> bool:
        """Whether a teacher node computes the predictions before the stage."""
        return self.mode.startswith("cache")


@dataclass(frozen=True)
class Progress:
    """Position of an optimizer step in its stage.

    Args:
        step: 0-based optimizer step.
        total: optimizer steps of the whole stage.
        t: 1-based stage.
    """

    step: int
    total: int
    t: int


@dataclass(frozen=True)
class Ahead:
    """Argument of `replaced_rows`: the rows of a stage of text before its first step.

    Args:
        t: 1-based stage.
        seed: seed of the run.
        own: whether a slot's row is of the stage's own task, neither replayed nor mixed in [steps, rows per batch].
        row: the row of a step and a slot of its batch.
        folders: folders of the data sets that the method reads, by name.
        separator: id of the token that starts a document.
    """

    t: int
    seed: int
    own: npt.NDArray[np.bool_]
    row: Callable[[int, int], Row]
    folders: Mapping[str, Path]
    separator: int


@dataclass(frozen=True)
class Replaced:
    """A row that is trained on in place of the plan's.

    Args:
        step: 0-based optimizer step of the stage.
        slot: number of the row in the batch of the step.
        row: the row; as long as the one that it replaces.
        note: JSON data about it, for the manifest.
    """

    step: int
    slot: int
    row: Row
    note: Mapping[str, Any]


@dataclass(frozen=True)
class MicroBatch:
    """Argument of `token_terms`: one micro-batch.

    Args:
        model: the trained model.
        batch: rows of the micro-batch.
        step: 0-based optimizer step.
        outputs: outputs on the learned tokens from which the task loss is computed, so that a term needs no second
            forward pass.
        under: computes the outputs on the same rows with other values of some parameters, given by name, such as those
            of an earlier model; in evaluation mode and without a graph.
        readings: readings that the first column of the batch's `origin` indexes.
        teacher: computes the predictions of the method's teacher on the same tokens. None: the method has no teacher.
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
    """Argument of `step_terms`, `after_backward` and `after_step`: one optimizer step.

    Args:
        model: the trained model.
        step: 0-based optimizer step.
        taken: rows that a method took out of the task loss. None: no row.
        readings: readings that the first column of a batch's `origin` indexes.
        outputs: computes the model's outputs on the learned tokens of a batch.
        loss: computes the summed loss of a batch, in nats.
        rollouts: generates answers, in evaluation mode and without a graph: of questions (one tensor of ids each), the
            largest number of new tokens, and the id that ends an answer.
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
    """Argument of `consolidate` after stage t, and of `survey` before the first step of stage t.

    Args:
        model: the model in evaluation mode; trained parameters require gradients.
        t: 1-based stage.
        tensors: the method's own state at the end of the stage.
        memory: result of `consolidate` after the previous stage; empty after the first stage.
        loss: computes the summed loss of a batch, in nats.
        outputs: computes the model's outputs on the learned tokens of a batch.
        batches: yields the stage's own training rows in a fixed order, in batches of the given number of rows.
        tasks: names of the tasks that the first column of a batch's `origin` indexes.
        as_trained: context manager for the precision in which the stage trains; outside of it the precision is fp32.
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
    """Examples of a general set's training split, from which a method selects.

    Attributes:
        seed: seed of the run.
    """

    seed: int

    def __len__(self) -> int:
        """Number of examples."""

    def nll(self, templated: bool, whole: bool) -> torch.Tensor:
        """Mean negative log-likelihood in nats per token [n] under the learned model.

        Of a preference pair, the better answer counts.

        Args:
            templated: render examples in the model's chat template; otherwise as plain text.
            whole: average over all tokens of an example; otherwise over the tokens of its answer.
        """
