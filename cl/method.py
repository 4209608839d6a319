"""The hook protocol: what one idea may change about learning.

A method overrides only what it needs. Every hook has a neutral default, so a method without overrides is
plain fine-tuning, bit for bit. A strategy is an ordered list of methods; hooks are called in that order.

| hook            | called                                   | may change                                       |
|-----------------|------------------------------------------|--------------------------------------------------|
| `active`        | when the graph is built                  | whether it is in stage t at all (and in its key) |
| `inert`         | when the graph is built                  | which of its settings are in stage t's key       |
| `stages`        | once per run, when the graph is built    | the stream: which stages, from which parent      |
| `transform`     | when a task's data are made              | the examples of an instruction task              |
| `mixture`       | before a stage                           | which data in which shares                       |
| `schedule`      | before each optimizer step               | the factor on the peak learning rate             |
| `keep_optimizer`| when the graph is built                  | optimizer state carried over from the parent     |
| `stands_on_base`| when the graph is built                  | whether states hold adapters only                |
| `remember`      | before `prepare`, where there is memory  | its own state, from what `consolidate` returned  |
| `prepare`       | before the first step of a stage         | the model (adapters), its own state (teacher)    |
| `loss_terms`    | in each micro-batch                      | adds named terms to the loss                     |
| `step_terms`    | once per optimizer step                  | adds named terms that no data enter              |
| `after_backward`| after the last backward, before clipping | the gradient                                     |
| `tensors`/`load`| at each checkpoint and at the end        | the state inside a stage                         |
| `consolidate`   | after a stage, in a node of its own      | the memory that later stages get                 |

State inside a stage and memory between stages are two things. `tensors` is what a killed process needs to go on, and
what `consolidate` finds of the stage that just ended; `consolidate` turns it, the trained model and the earlier memory
into the new memory. It is a node of its own, so a method that only looks back is not in the key of the first task.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError

if TYPE_CHECKING:
    import torch

    from cl.examples import Example
    from cl.mixing import Ledger
    from cl.rows import Batch

Tasks = Literal["all", "first", "later"]


@dataclass(frozen=True)
class Stage:
    """One stretch of learning that becomes one train node.

    name: shown to people; tasks: what it learns, with each one's share of the stage's own rows;
    t: 1-based position in the stream; total: rows of the whole stage (of text: `train.sequence` tokens each; of an
    instruction task: examples), of which this node trains the part from `start` to `stop` (fractions);
    parent: index of the stage whose end state it starts from, None = the base model; row: row of R that its end
    state fills, None = not evaluated; continues: it goes on inside its parent's stage (same data order, optimizer
    state kept), as an annealing fork does.
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


@dataclass(frozen=True)
class Progress:
    """Where in its stage a step is: `step` of `total` optimizer steps (0-based) in stage `t` (1-based)."""

    step: int
    total: int
    t: int


@dataclass(frozen=True)
class MicroBatch:
    """What `loss_terms` sees: the model, the rows of a micro-batch, and the 0-based optimizer step."""

    model: Any
    batch: Batch
    step: int


@dataclass(frozen=True)
class Learned:
    """What `consolidate` sees after stage t: what was learned, and how it was.

    model: in evaluation mode, with the parameters that were trained requiring gradients; t: 1-based; tensors: the
    method's own state at the end of the stage; memory: what it returned after the stage before, empty after the
    first; loss: summed nats of a batch; batches: rows of the stage's own training data, in a fixed order, that many
    to a batch.
    """

    model: Any
    t: int
    tensors: Mapping[str, torch.Tensor]
    memory: Mapping[str, torch.Tensor]
    loss: Callable[[Batch], torch.Tensor]
    batches: Callable[[int], Iterator[Batch]]


class Method:
    """One idea that changes learning. Settings are the keyword arguments of its constructor.

    tasks: in which stages it acts: `all`, `first` (t = 1) or `later` (t > 1). memory_settings: names of the settings
    that change what `consolidate` returns, and so stand in its key; the others do not.
    """

    memory_settings: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tasks: Tasks = "all") -> None:
        if tasks not in ("all", "first", "later"):
            raise UserError(f"tasks: {tasks!r} is not one of all, first, later")
        self.tasks = tasks

    def active(self, t: int) -> bool:
        """Whether the method acts in stage t (1-based); where it does not, it is not in that node's key."""
        return self.tasks == "all" or (self.tasks == "first") == (t == 1)

    def inert(self, t: int) -> tuple[str, ...]:
        """Names of settings that change nothing in stage t, and so stand in the key of later stages only."""
        return ()

    def warnings(self) -> list[str]:
        """Sentences about settings that make the method degenerate, shown by plan and run."""
        return []

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Return the stream to learn instead of `stages`."""
        return stages

    def transform(self, examples: list[Example], task: str, split: str) -> list[Example]:
        """Return the examples of a split (train, validation or test) of an instruction task instead of `examples`."""
        return examples

    def mixture(self, shares: dict[str, float], ledger: Ledger) -> dict[str, float]:
        """Return the share of each source in the stage; shares sum to 1. `ledger`: what was consumed before."""
        return shares

    def schedule(self, at: Progress) -> float | None:
        """Return the learning rate as a factor on the peak rate, or None to leave it to another method."""
        return None

    def keep_optimizer(self) -> bool:
        """Whether the stage starts with its parent's optimizer state instead of a fresh one."""
        return False

    def stands_on_base(self) -> bool:
        """Whether states hold adapters only, so that each needs the base model to be opened."""
        return False

    def remember(self, memory: Mapping[str, torch.Tensor]) -> None:
        """Take up what `consolidate` returned after the stage before."""

    def prepare(self, model: Any, t: int) -> Any:
        """Return the model to train in stage t, changed or not, and take what the method needs of it.

        On resume the checkpoint's parameters and state are loaded afterwards.
        """
        return model

    def loss_terms(self, batch: MicroBatch) -> dict[str, torch.Tensor]:
        """Return further loss terms: scalars, already weighted, *means* over an optimizer step.

        A term is added once per micro-batch with that micro-batch's share of the step's tokens as weight,
        so that accumulation does not change it.
        """
        return {}

    def step_terms(self, model: Any, step: int) -> dict[str, torch.Tensor]:
        """Return further loss terms in which no data enter (penalties): scalars, already weighted.

        Computed once per optimizer step, however many micro-batches it has.
        """
        return {}

    def after_backward(self, model: Any) -> None:
        """Change gradients in place after the last backward of a step, before clipping."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """The method's state inside a stage, stored with each checkpoint and at its end."""
        return {}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Inverse of `tensors`, after `prepare`."""

    def consolidate(self, learned: Learned) -> dict[str, torch.Tensor]:
        """Return the memory that the method has of all stages up to `learned.t`."""
        return {}

    @classmethod
    def consolidates(cls) -> bool:
        """Whether the method has memory at all, and so nodes of its own."""
        return cls.consolidate is not Method.consolidate
