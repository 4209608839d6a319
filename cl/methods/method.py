"""The protocols of a method: one idea that changes learning, in hooks grouped by the time at which they are called.

A strategy is an ordered list of methods; hooks are called in that order. A method is a dataclass: its fields are its
settings. It derives from `Method`, and from each protocol whose hooks it overrides:

| protocol         | called                           | hooks                                                        |
|------------------|----------------------------------|--------------------------------------------------------------|
| `Method`         | when a strategy is read, planned | `active`, `inactive_settings`, `validate`                    |
| `PlansStages`    | while planning, no torch         | `stages`, `mixture`, `teaching`, `carries_optimizer`         |
| `TransformsData` | when a task's data are made      | `transform`, `data_key`, `notes`                             |
| `Trains`         | inside a train node              | `suits`, `longest_row`, `prepare`, `objective`, `survey`,    |
|                  |                                  | `schedule`, `token_terms`, `step_terms`, `after_backward`,   |
|                  |                                  | `after_step`, `figures`, `state_dict`, `load_state_dict`     |
| `TakesRows`      | inside a train node              | `row_mask`                                                   |
| `EditsRows`*     | while planning, before a stage   | `reads`, `edits`, `fits`, `replaced_rows`                    |
| `CutsRows`*      | before a stage, in its own node  | `fits_shape`, `cut`                                          |
| `Remembers`      | between stages, in its own node  | `consolidate`, `remember`                                    |
| `Selects`        | before a stage, in its own node  | `selection_size`, `select`                                   |
| `Gates`*         | after a stage, in its own node   | `decide`                                                     |
| `Merges`         | before a row of R, in its node   | `merges`, `merge`                                            |
| `Retrieves`*     | before a row of R, in its node   | `scores`, `encoder`                                          |
| `Modulates`*     | before a row of R, in its nodes  | `network`                                                    |

Those with a star stand in files of their own beside this one.

Every hook has a neutral default: a method that overrides none is plain fine-tuning, bit for bit. A method that derives
from `Trains` is in the key of each stage in which it is active; the effect of planning hooks is in the key instead of
the method. Each node builds its methods anew, so no state passes from one stage to the next except what
`state_dict` stores inside a stage and what `consolidate` returns between stages.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from cl.errors import UserError
from cl.methods.contexts import Candidates, Learned, MicroBatch, Progress, Stage, Step, Teaching

if TYPE_CHECKING:
    import torch

    from cl.data.batches import Batch
    from cl.data.mixture import Ledger
    from cl.data.sampling import Reading
    from cl.methods.objective import Objective
    from cl.models.losses import Criterion
    from cl.models.pretrained import Outline
    from cl.tasks.example import Example

__all__ = [
    "Candidates",
    "InSomeTasks",
    "Learned",
    "Merges",
    "Method",
    "MicroBatch",
    "PlansStages",
    "Progress",
    "Remembers",
    "Selects",
    "Stage",
    "Step",
    "TakesRows",
    "Tasks",
    "Teaching",
    "Trains",
    "TransformsData",
    "overrides",
]

Tasks = Literal["all", "first", "later"]
LEARN = "learn"
"""Phase of the stages that learn the stream."""


class Method:
    """One idea that changes learning. Derive a dataclass with `eq=False`; its fields are the settings.

    Attributes:
        phase: the phase of the stages in which the method acts.
        adapter: None: states are whole models; "shared": states hold adapters on the base model, and all sets are
            answered with all of them; "per_task": each task is answered with its own stage's adapter `t1`, `t2`, …
            alone, and a set without one by the base model, so the task of a question must be known.
    """

    phase: ClassVar[str] = LEARN

    @property
    def adapter(self) -> Literal["shared", "per_task"] | None:
        """How the states of the strategy use adapters."""
        return None

    def active(self, t: int) -> bool:
        """Whether the method acts in stage t (1-based). A stage's key holds active methods only."""
        return True

    def inactive_settings(self, t: int) -> tuple[str, ...]:
        """Names of settings that have no effect in stage t; they are left out of its key."""
        return ()

    def validate(self, others: Sequence[Method]) -> list[str]:
        """Check the settings beside the strategy's other methods.

        Returns:
            Warnings: sentences about settings that make the method degenerate, shown by plan and run.

        Raises:
            UserError: if one of the other methods makes this one meaningless.
        """
        return []


@dataclass(eq=False)
class InSomeTasks(Method):
    """A method that can be limited to some tasks of the stream.

    Args:
        tasks: stages in which the method acts: `all`, `first` (t <= 1) or `later` (t > 1).
    """

    tasks: Tasks = field(default="all", kw_only=True)

    def __post_init__(self) -> None:
        if self.tasks not in ("all", "first", "later"):
            raise UserError(f"tasks: {self.tasks!r} is not one of all, first, later")

    def active(self, t: int) -> bool:
        """Act in the chosen stages."""
        return self.tasks == "all" or (self.tasks == "first") == (t <= 1)


class PlansStages(Method):
    """Changes the stream while the graph is planned. Its effect is in the keys, not the method."""

    def stages(self, stages: list[Stage]) -> list[Stage]:
        """Return the stream to learn instead of `stages`. Called once per run."""
        return stages

    def mixture(self, shares: dict[str, float], ledger: Ledger) -> dict[str, float]:
        """Return the share of each source in a stage.

        Args:
            shares: share of each reading (see `cl.data.sampling.Reading`); they sum to 1.
            ledger: rows and tokens consumed before the stage.
        """
        return shares

    def teaching(self, t: int) -> Teaching | None:
        """Return the teacher of stage t and how its predictions are obtained. None: no teacher."""
        return None

    def carries_optimizer(self) -> bool:
        """Whether a stage starts with its parent's optimizer state instead of a fresh one."""
        return False


class TransformsData(Method):
    """Changes the examples of instruction tasks, or of tasks of other kinds. It is in the key of the data nodes.

    Attributes:
        transforms: kinds of tasks whose documents the method changes.
    """

    transforms: ClassVar[tuple[str, ...]] = ("instruction",)

    def transform(self, examples: list[Example], task: str, split: str) -> list[Example]:
        """Return the examples of a split (train, validation or test) of a task instead of `examples`."""
        return examples

    def data_key(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return the settings that decide `transform`, for the data's key. Loads nothing.

        A setting that only locates content is replaced by a fingerprint of the content.
        """
        return dict(settings)

    def notes(self) -> dict[str, Any]:
        """Return JSON data about the transformation, for the record; sentences under `warnings` are printed."""
        return {}


class Trains(Method):
    """Acts inside a train node.

    Attributes:
        shardable: the hooks work on parameters, gradients and states of which each process holds some rows
            (`cl.models.sharding`), and modules that `prepare` adds compute inside the model's layers alone; so the
            model may be sharded (FSDP).
        skips_parameters: a micro-batch may leave a trained parameter without a gradient, such as an expert that gets
            no token; several processes then look for such parameters in each backward pass, which takes time.
        adds_parameters: `prepare` decides which parameters are trained, so it runs before that of other methods, which
            read them, wherever the method stands in the list.
        freezes_weights: `prepare` leaves no weight of a linear module of the model itself trained.
        packable: examples may be packed into one row (`train.packing`); false if each needs a beginning of its own.
    """

    shardable: ClassVar[bool] = False
    skips_parameters: ClassVar[bool] = False
    adds_parameters: ClassVar[bool] = False
    freezes_weights: ClassVar[bool] = False
    packable: ClassVar[bool] = True

    def suits(self, outline: Outline) -> None:
        """Check that the architecture suits the method. Runs while planning; `outline.model` takes seconds to make.

        Raises:
            UserError: if it does not.
        """

    def longest_row(self, limit: int | None) -> int | None:
        """Return how many tokens per row the model reads after `prepare`, from how many it read before. None: any."""
        return limit

    def prepare(self, model: Any, t: int) -> Any:
        """Return the model to train in stage t, changed or not. Runs before the first step, on the stage's device.

        On resumption the checkpoint's parameters and state are loaded afterwards.
        """
        return model

    def objective(self) -> Objective | None:
        """Return what the stage minimises instead of the cross-entropy of its tokens. None: leave it."""
        return None

    def survey(self, ahead: Learned) -> None:
        """Read the data that the stage is about to learn. Runs after every method has prepared the model.

        Runs on resumption as well, before the checkpoint is loaded; not in a stage that continues its parent's.
        """

    def schedule(self, at: Progress) -> float | None:
        """Return the learning rate as a factor on the peak rate. None: leave it to another method."""
        return None

    def token_terms(self, batch: MicroBatch) -> dict[str, Criterion]:
        """Return further loss terms by name: weighted sums over learned tokens of functions of log-probabilities.

        Computed with the cross-entropy in one pass over the logits, and divided by the same count of tokens.
        """
        return {}

    def step_terms(self, at: Step) -> dict[str, torch.Tensor]:
        """Return further loss terms by name: weighted scalars that no data enter, or that the taken rows give.

        Computed once per optimizer step, however many micro-batches the step has.
        """
        return {}

    def after_backward(self, at: Step) -> None:
        """Change gradients in place. Runs after the last backward pass of a step, before clipping."""

    def after_step(self, at: Step) -> None:
        """Change or read parameters. Runs after the optimizer's update."""

    def figures(self) -> dict[str, float]:
        """Return figures by name of the steps since the last call, for the curve."""
        return {}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the method's state inside a stage. It is stored with each checkpoint and at the stage's end."""
        return {}

    def load_state_dict(self, tensors: Mapping[str, torch.Tensor]) -> None:
        """Load what `state_dict` returned. Runs after `prepare`."""


class TakesRows(Trains):
    """Takes rows out of the stage's objective, for terms of its own. One device only: see `cl.methods.checks`."""

    def row_mask(self, batch: Batch, readings: Sequence[Reading]) -> torch.Tensor | None:
        """Return which rows [B] of a step's batch the method takes. None: no row.

        Args:
            batch: rows of one optimizer step.
            readings: the readings that the first column of `batch.origin` counts.
        """
        return None


class Remembers(Method):
    """Keeps a memory between stages, made in a consolidate node after each stage.

    A method that only remembers is not in the key of the first task.

    Attributes:
        memory_settings: names of the settings that change what `consolidate` returns, and so are in its key.
    """

    memory_settings: ClassVar[tuple[str, ...]] = ()

    def consolidate(self, learned: Learned) -> dict[str, torch.Tensor]:
        """Return the memory of all stages up to `learned.t`."""
        return {}

    def remember(self, memory: Mapping[str, torch.Tensor]) -> None:
        """Load the memory of the stage before. Runs before `prepare`; not where there is none."""


class Selects(Method):
    """Selects the rows of a set that a stage learns from, in a select node before the stage.

    Attributes:
        selection_settings: names of the settings that change the selection, and so are in its key.
    """

    selection_settings: ClassVar[tuple[str, ...]] = ()

    def selection_size(self) -> int | None:
        """How many rows of the set are selected. None: all of them, without a select node."""
        return None

    def select(self, of: Candidates) -> Sequence[int]:
        """Return the numbers of the selected rows, `selection_size()` of them. By default the first ones."""
        return range(self.selection_size() or 0)


class Merges(Method):
    """Evaluates a merge of the trained states in place of the newest state. Training goes on from the states."""

    def merges(self, states: int) -> bool:
        """Whether the row of R after so many evaluated states is of a merged model."""
        return True

    def merge(self, vectors: Sequence[Mapping[str, torch.Tensor]]) -> Mapping[str, torch.Tensor]:
        """Return what is added to the base model's parameters, by name.

        Args:
            vectors: task vectors of the evaluated states in order: the difference of each state from the base model by
                parameter; a parameter without a difference is absent.
        """
        return vectors[-1]


def overrides(method: Method, hook: Callable[..., Any]) -> bool:
    """Whether a method's class overrides a hook, given as `Trains.schedule`."""
    return getattr(type(method), hook.__name__, hook) is not hook
