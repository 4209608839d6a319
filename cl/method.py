"""The hook protocol: what one idea may change about learning.

A method overrides only what it needs. Every hook has a neutral default, so a method without overrides is
plain fine-tuning, bit for bit. A strategy is an ordered list of methods; hooks are called in that order.

| hook            | called                                   | may change                                      |
|-----------------|------------------------------------------|-------------------------------------------------|
| `active`        | when the graph is built                  | whether it is in stage t at all (and in its key) |
| `stages`        | once per run, when the graph is built    | the stream: which stages, from which parent      |
| `mixture`       | before a stage                           | which data in which shares                       |
| `schedule`      | before each optimizer step               | the factor on the peak learning rate             |
| `keep_optimizer`| when the graph is built                  | optimizer state carried over from the parent     |
| `prepare`       | before the first step of a stage         | the model (adapters), its own state (teacher)    |
| `loss_terms`    | in each micro-batch                      | adds named terms to the loss                     |
| `after_backward`| after the last backward, before clipping | the gradient                                     |
| `finish`        | after the last step of a stage           | its own state, kept for later stages             |
| `tensors`       | at each checkpoint and at the end        | the state that is stored                         |
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from cl.errors import UserError

if TYPE_CHECKING:
    import torch

    from cl.mixing import Ledger

Tasks = Literal["all", "first", "later"]


@dataclass(frozen=True)
class Stage:
    """One stretch of learning that becomes one train node.

    name: shown to people; tasks: what it learns, with each one's share of the stage's own tokens;
    t: 1-based position in the stream; total: tokens of the whole stage, of which this node trains the
    part from `start` to `stop` (fractions); parent: index of the stage whose end state it starts from,
    None = the base model; row: row of R that its end state fills, None = not evaluated; continues: it goes
    on inside its parent's stage (same data order, optimizer state kept), as an annealing fork does.
    """

    name: str
    tasks: Mapping[str, float]
    t: int
    total: int
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
    """What `loss_terms` sees: the model, and the token ids [B, T+1] of a micro-batch (inputs and targets)."""

    model: torch.nn.Module
    tokens: torch.Tensor


class Method:
    """One idea that changes learning. Settings are the keyword arguments of its constructor.

    tasks: in which stages it acts: `all`, `first` (t = 1) or `later` (t > 1).
    """

    def __init__(self, tasks: Tasks = "all") -> None:
        if tasks not in ("all", "first", "later"):
            raise UserError(f"tasks: {tasks!r} is not one of all, first, later")
        self.tasks = tasks

    def active(self, t: int) -> bool:
        """Whether the method acts in stage t (1-based); where it does not, it is not in that node's key."""
        return self.tasks == "all" or (self.tasks == "first") == (t == 1)

    def warnings(self) -> list[str]:
        """Sentences about settings that make the method degenerate, shown by plan and run."""
        return []

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Return the stream to learn instead of `stages`."""
        return stages

    def mixture(self, shares: dict[str, float], ledger: Ledger) -> dict[str, float]:
        """Return the share of each source in the stage; shares sum to 1. `ledger`: what was consumed before."""
        return shares

    def schedule(self, at: Progress) -> float | None:
        """Return the learning rate as a factor on the peak rate, or None to leave it to another method."""
        return None

    def keep_optimizer(self) -> bool:
        """Whether the stage starts with its parent's optimizer state instead of a fresh one."""
        return False

    def prepare(self, model: torch.nn.Module, t: int) -> None:
        """Change the model, or take what the method needs of it, before the first step of stage t.

        What the parent stage left was handed to `load` before; on resume the checkpoint's state is afterwards.
        """

    def loss_terms(self, batch: MicroBatch) -> dict[str, torch.Tensor]:
        """Return further loss terms: scalars, already weighted, *means* over an optimizer step.

        A term is added once per micro-batch with that micro-batch's share of the step's tokens as weight,
        so that accumulation does not change it.
        """
        return {}

    def after_backward(self, model: torch.nn.Module) -> None:
        """Change gradients in place after the last backward of a step, before clipping."""

    def finish(self, model: torch.nn.Module, t: int) -> None:
        """Take what later stages need of the model after the last step of stage t."""

    def tensors(self) -> dict[str, torch.Tensor]:
        """The method's state, stored with the node and handed to `load` in the next stage or on resume."""
        return {}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Inverse of `tensors`."""
