"""The hook protocol: what one idea may change about learning.

A method overrides only what it needs. Every hook has a neutral default, so a method without overrides is
plain fine-tuning, bit for bit. A strategy is an ordered list of methods; hooks are called in that order.

| hook            | called                                   | may change                                       |
|-----------------|------------------------------------------|--------------------------------------------------|
| `check`         | when a strategy is read                  | refuses other methods beside it                  |
| `active`        | when the graph is built                  | whether it is in stage t at all (and in its key) |
| `inert`         | when the graph is built                  | which of its settings are in stage t's key       |
| `stages`        | once per run, when the graph is built    | the stream: which stages, from which parent      |
| `chosen`        | when the graph is built                  | how many examples the stage is to learn from     |
| `choose`        | before the stage, in a node of its own   | which examples these are                         |
| `transform`     | when a task's data are made              | the examples of an instruction task              |
| `data_key`      | when the graph is built                  | which of its settings are in the data's key      |
| `notes`         | after a task's data are made             | what is stored with them about how they were     |
| `mixture`       | before a stage                           | which data in which shares                       |
| `schedule`      | before each optimizer step               | the factor on the peak learning rate             |
| `keep_optimizer`| when the graph is built                  | optimizer state carried over from the parent     |
| `stands_on_base`| when the graph is built                  | whether states hold adapters only                |
| `alone`         | when the graph is built                  | whether each task is tested with its own adapter |
| `remember`      | before `prepare`, where there is memory  | its own state, from what `consolidate` returned  |
| `prepare`       | before the first step of a stage         | the model (adapters), its own state (teacher)    |
| `survey`        | after all have prepared, not on a fork   | the model, its own state, from the stage's data  |
| `takes`         | in each optimizer step                   | which rows it takes out of the task loss         |
| `teacher`       | when the graph is built                  | whether a model teaches, which, and how          |
| `loss_terms`    | in each micro-batch                      | adds named terms to the loss                     |
| `token_terms`   | in each micro-batch                      | adds terms of each token's probabilities         |
| `step_terms`    | once per optimizer step                  | adds named terms: no data, or the rows it took   |
| `after_backward`| after the last backward, before clipping | the gradient                                     |
| `figures`       | where a point of the curve is recorded   | what the curve shows beside the terms            |
| `tensors`/`load`| at each checkpoint and at the end        | the state inside a stage                         |
| `consolidate`   | after a stage, in a node of its own      | the memory that later stages get                 |
| `merge`         | before a row of R, in a node of its own  | the model that is evaluated instead of the state |

State inside a stage and memory between stages are two things. `tensors` is what a killed process needs to go on, and
what `consolidate` finds of the stage that just ended; `consolidate` turns it, the trained model and the earlier memory
into the new memory. It is a node of its own, so a method that only looks back is not in the key of the first task.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError
from cl.methods.contexts import Candidates, Learned, MicroBatch, Progress, Stage, Step, Teaching

if TYPE_CHECKING:
    import torch

    from cl.data.batches import Batch
    from cl.data.mixture import Ledger
    from cl.data.sampling import Reading
    from cl.models.losses import Criterion
    from cl.tasks.example import Example

__all__ = [
    "Candidates",
    "Learned",
    "Method",
    "MicroBatch",
    "Progress",
    "Stage",
    "Step",
    "Tasks",
    "Teaching",
    "check_together",
]

Tasks = Literal["all", "first", "later"]


class Method:
    """One idea that changes learning. Settings are the keyword arguments of its constructor.

    tasks: in which stages it acts: `all`, `first` (t <= 1) or `later` (t > 1). memory_settings: names of the settings
    that change what `consolidate` returns, and so stand in its key; the others do not. choice_settings: the same of
    `choose`. phase: of the stages in which it acts. shardable: what `prepare` makes of the model is computed inside its
    layers alone, and so may be sharded (FSDP).
    """

    memory_settings: ClassVar[tuple[str, ...]] = ()
    choice_settings: ClassVar[tuple[str, ...]] = ()
    phase: ClassVar[str] = "learn"
    shardable: ClassVar[bool] = False

    def __init__(self, tasks: Tasks = "all") -> None:
        if tasks not in ("all", "first", "later"):
            raise UserError(f"tasks: {tasks!r} is not one of all, first, later")
        self.tasks = tasks

    def active(self, t: int) -> bool:
        """Whether the method acts in stage t (1-based); where it does not, it is not in that node's key."""
        return self.tasks == "all" or (self.tasks == "first") == (t <= 1)

    def inert(self, t: int) -> tuple[str, ...]:
        """Names of settings that change nothing in stage t, and so stand in the key of later stages only."""
        return ()

    def warnings(self) -> list[str]:
        """Sentences about settings that make the method degenerate, shown by plan and run."""
        return []

    def check(self, others: Sequence[Method]) -> None:
        """Raise UserError where one of the strategy's other methods makes this one mean nothing, or something else."""

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Return the stream to learn instead of `stages`."""
        return stages

    def chosen(self) -> int | None:
        """How many examples of its set the stage learns from, None: all of them."""
        return None

    def choose(self, of: Candidates) -> Sequence[int]:
        """Return the numbers of the examples to learn from, as many as `chosen` says; by default the first ones."""
        return range(self.chosen() or 0)

    def transform(self, examples: list[Example], task: str, split: str) -> list[Example]:
        """Return the examples of a split (train, validation or test) of an instruction task instead of `examples`."""
        return examples

    def data_key(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return what decides `transform`, for the key of the data: by default all of the method's `settings`.

        What only says where something is found stands aside for what is there. Nothing is loaded.
        """
        return dict(settings)

    def notes(self) -> dict[str, Any]:
        """Return what `transform` has to tell once all splits of a task are made, as JSON data for the record.

        A list of sentences under `warnings` is shown to the user.
        """
        return {}

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

    def teacher(self, t: int) -> Teaching | None:
        """Return whether a model teaches in stage t, and which: its `MicroBatch` then says what that one would."""
        return None

    def alone(self) -> bool:
        """Whether the test of a task uses the adapter of its own stage, `t1`, `t2`, …, and no other.

        A data set that has none (a task still to come, a retain set) is answered by the base model. So the task of a
        question must be known. Looks inside a task see the model as it is trained.
        """
        return False

    def remember(self, memory: Mapping[str, torch.Tensor]) -> None:
        """Take up what `consolidate` returned after the stage before."""

    def prepare(self, model: Any, t: int) -> Any:
        """Return the model to train in stage t, changed or not, and take what the method needs of it.

        On resume the checkpoint's parameters and state are loaded afterwards.
        """
        return model

    def survey(self, ahead: Learned) -> None:
        """Look at the data that the stage is about to learn, once all methods have prepared the model.

        Called on resume as well, before the checkpoint is loaded; not where a stage goes on inside its parent's.
        """

    def takes(self, batch: Batch, readings: Sequence[Reading]) -> torch.Tensor | None:
        """Return which rows [B] the method takes out of the task loss, for `step_terms` of its own; None: none.

        readings: what the first column of the batch's `origin` counts.
        """
        return None

    def loss_terms(self, batch: MicroBatch) -> dict[str, torch.Tensor]:
        """Return further loss terms: scalars, already weighted, *means* over an optimizer step.

        A term is added once per micro-batch with that micro-batch's share of the step's tokens as weight,
        so that accumulation does not change it.
        """
        return {}

    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        """Return further loss terms that are sums over learned tokens of what the model gives at them, weighted.

        They are computed with the task loss in one pass over the logits, and divided by the same count of tokens.
        """
        return {}

    def step_terms(self, at: Step) -> dict[str, torch.Tensor]:
        """Return further loss terms in which no data enter (penalties), or the rows taken: scalars, already weighted.

        Computed once per optimizer step, however many micro-batches it has.
        """
        return {}

    def after_backward(self, at: Step) -> None:
        """Change gradients in place after the last backward of a step, before clipping."""

    def figures(self) -> dict[str, float]:
        """Return named figures of the steps since this was last called, for the curve."""
        return {}

    def tensors(self) -> dict[str, torch.Tensor]:
        """The method's state inside a stage, stored with each checkpoint and at its end."""
        return {}

    def load(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Inverse of `tensors`, after `prepare`."""

    def consolidate(self, learned: Learned) -> dict[str, torch.Tensor]:
        """Return the memory that the method has of all stages up to `learned.t`."""
        return {}

    def merge(self, vectors: Sequence[Mapping[str, torch.Tensor]]) -> Mapping[str, torch.Tensor]:
        """Return what is added to the base model's parameters, by name, to evaluate it in place of a stage's state.

        vectors: of each evaluated state up to this one, in order, how it differs from the base model (task vectors);
        a parameter that does not differ is absent. Training goes on from the states, not from what was merged.
        """
        return vectors[-1]

    def merges(self, states: int) -> bool:
        """Whether the row of R after so many evaluated states is of a merged model, not of the newest state itself."""
        return type(self).merge is not Method.merge

    @classmethod
    def consolidates(cls) -> bool:
        """Whether the method has memory at all, and so nodes of its own."""
        return cls.consolidate is not Method.consolidate


WHOLE = ("remember", "survey", "loss_terms", "token_terms", "step_terms", "after_backward", "tensors", "teacher")
"""Hooks that see parameters, gradients or a model beside: what FSDP leaves a process shards of. So does `prepare`, for
what it adds may be read outside the model's layers, unless the method is `shardable`."""


def check_together(methods: Iterable[Method], sharded: bool) -> None:
    """Raises UserError for a method that several processes cannot train with, or not if the model is sharded.

    Rows that a method takes for itself are not as many in each process, so a mean over processes would not be the mean
    over rows. All other terms are the same in all processes, or means over tokens that are weighed by their number.
    """
    for method in methods:
        name, own = type(method).__name__, type(method)
        if own.takes is not Method.takes:
            raise UserError(
                f"train.devices: {name} takes rows out of the task loss, not as many in each process; use 1"
            )
        wanting = WHOLE if own.shardable else (*WHOLE, "prepare")
        if sharded and (hooks := [hook for hook in wanting if getattr(own, hook) is not getattr(Method, hook)]):
            raise UserError(f"train.distributed: {name} ({hooks[0]}) needs whole parameters; use ddp in place of fsdp")
