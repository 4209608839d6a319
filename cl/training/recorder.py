"""What happens beside the steps of a train node: the curve, looks inside the task, and checkpoints.

Nothing here can change the training: looks leave every random generator as it was, and a checkpoint only reads.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor

from cl.config.checkpoints import Checkpoints
from cl.config.evaluation import Evaluation
from cl.data.batches import Rows
from cl.data.mixture import Plan
from cl.errors import UserError
from cl.metrics.records import Point
from cl.training import checkpoint, distributed
from cl.training.learner import Learner
from cl.training.validation import Validator

POINTS = 100  # points recorded per stage, apart from those that evaluate
DENSER = 1.5  # looks are at (i/n)^DENSER of a stage
FORWARD = 1 / 3  # of a training step: what a look costs per token, until one was timed


class Watcher(Protocol):
    """Who looks on while a node is computed; nothing it does can change the result."""

    def progress(self, done: int, total: int) -> None:
        """`done` of `total` steps are finished."""

    def point(self, point: Point) -> None:
        """A point of the curve was recorded."""


@dataclass
class Job:
    """A train node made ready: everything that its loop needs."""

    learner: Learner
    plan: Plan
    sources: Mapping[str, Rows]
    first: int
    last: int
    validator: Validator
    device: str
    precision: str
    devices: int
    distributed: str
    work: Path
    evaluation: Evaluation
    checkpoints: Checkpoints
    watcher: Watcher
    points: list[Point] = field(default_factory=list)
    seconds: float = 0.0
    eval_seconds: float = 0.0

    @cached_property
    def _tokens(self) -> npt.NDArray[np.int64]:
        """Input tokens of each row of the plan, padding not counted."""
        found = np.empty_like(self.plan.row)
        for index, reading in enumerate(self.plan.readings):
            at = self.plan.stream == index
            found[at] = self.sources[reading.source].lengths[self.plan.row[at]]
        return found

    def seen(self, step: int) -> dict[str, int]:
        """Tokens read in this node up to `step`, by share key."""
        part = slice(self.first * self.plan.batch_rows, step * self.plan.batch_rows)
        streams = enumerate(self.plan.readings)
        return {str(key): int(self._tokens[part][self.plan.stream[part] == i].sum()) for i, key in streams}


class Recorder(pl.Callback):
    """Records the curve, looks at the validation windows, and saves checkpoints; training does not notice."""

    def __init__(self, job: Job, optimizer_state: dict[str, Tensor] | None) -> None:
        self.job, self.optimizer_state = job, optimizer_state
        self.optimizer: torch.optim.Optimizer | None = None
        count = job.last - job.first
        self.record_at = {job.first + round(i * count / POINTS) for i in range(POINTS + 1)}
        self.losses: list[dict[str, Any]] = []
        self.clock = self.saved = time.monotonic()
        self.look_cost, self.step_cost = 0.0, math.inf  # seconds: of the last look, of the fastest steps
        self.next_look = math.inf

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        """Take up the newest checkpoint, or record the state before the first update."""
        self._restore(self.job.learner, optimizer)
        self.clock = self.saved = time.monotonic()
        self._plan_look(first=not self.job.points)
        if self.job.points:
            for point in self.job.points:  # who looks on may have missed some when the process was killed
                self.job.watcher.point(point)
        else:
            self._record(self.job.learner)

    def _restore(self, learner: Learner, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        path = checkpoint.newest(self.job.work / "checkpoint")
        if path is not None:
            state = checkpoint.restore(path, learner.model, optimizer, learner.methods)
            learner.step = state["step"]
            self.job.points = [Point(**point) for point in state["points"]]
            self.job.seconds, self.job.eval_seconds = state["seconds"], state["eval_seconds"]
        elif self.optimizer_state is not None:
            checkpoint.load_optimizer(optimizer, self.optimizer_state)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin."""
        self.begin(trainer.optimizers[0])

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record, look and save where it is due."""
        learner = self.job.learner
        self.losses.append(learner.last)
        if learner.step in self.record_at or learner.step == self.next_look or learner.step == self.job.last:
            self._record(learner)
        self.job.watcher.progress(learner.step - self.job.first, self.job.last - self.job.first)
        self._save_if_due(learner)

    def _record(self, learner: Learner) -> None:
        means = summarise(distributed.added(self.losses))  # first: reading them waits for the device
        for method in learner.methods if means else ():
            means["terms"] |= method.figures()
        if not all(math.isfinite(means.get(name) or 0.0) for name in ("loss", "grad_norm")):
            raise UserError(f"train: the loss is not finite at step {learner.step}; lower train.lr or train.clip")
        now = time.monotonic()
        self.job.seconds += now - self.clock
        if self.losses:
            self.step_cost = min(self.step_cost, (now - self.clock) / len(self.losses))
        scores = self._look(learner) if learner.step == self.next_look else {}
        self.clock = time.monotonic()
        self.job.eval_seconds += self.clock - now
        if scores or self.next_look < learner.step:
            self._plan_look()
        seen = self.job.seen(learner.step)
        point = Point(
            step=learner.step,
            tokens=sum(seen.values()),
            seconds=self.job.seconds,
            seen=seen,
            scores=scores,
            **means,
        )
        self.losses = []
        self.job.points.append(point)
        self.job.watcher.point(point)

    def _look(self, learner: Learner) -> dict[str, float]:
        started = time.monotonic()
        scores = self.job.validator(learner.token_loss, self.job.device, self.job.precision)
        distributed.reshard(learner.token_loss)
        self.look_cost = time.monotonic() - started
        return scores

    def _plan_look(self, first: bool = False) -> None:
        """Fix the step of the next look, so that all looks together keep within their share of the stage's time.

        The stage's time is that of its fastest steps, so neither compilation nor a stall buys looks; before a
        look was timed, one is taken to cost FORWARD of a training step per token.
        """
        job, done, total = self.job, self.job.learner.step - self.job.first, self.job.last - self.job.first
        if not total or not job.evaluation.points:
            return
        if first:
            look = FORWARD * job.validator.tokens / (total * job.plan.batch_rows * job.plan.row_tokens)
            self.next_look = job.first if look <= job.evaluation.share else math.inf
        elif math.isinf(self.step_cost):
            self.next_look = -1  # no step was timed yet: plan when one was
        else:
            left = job.evaluation.share * self.step_cost * total - job.eval_seconds
            affordable = math.floor(left / self.look_cost + 1e-9) if self.look_cost else job.evaluation.points
            self.next_look = job.first + next_look(done, total, job.evaluation.points, affordable)
        self.next_look = distributed.agreed(self.next_look)

    def _save_if_due(self, learner: Learner) -> None:
        every, step = self.job.checkpoints, learner.step
        asked = every.steps is not None and step % every.steps == 0
        if step == self.job.last or (distributed.world() > 1 and not asked and step not in self.record_at):
            return  # several processes look at the clock together, not in each step
        if not distributed.agreed(asked or time.monotonic() - self.saved >= every.seconds):
            return
        if self.losses:
            self._record(learner)
        now = time.monotonic()
        extra = {
            "points": [asdict(point) for point in self.job.points],
            "seconds": self.job.seconds,
            "eval_seconds": self.job.eval_seconds,
        }
        assert self.optimizer is not None
        checkpoint.save(self.job.work / "checkpoint", step, learner.model, self.optimizer, learner.methods, extra)
        self.saved = time.monotonic()
        self.clock += self.saved - now  # writing is not training time


def next_look(done: int, total: int, points: int, affordable: int) -> float:
    """Step of the look after the one at step `done` of `total`; infinity if there is none.

    With i of n looks at total * (i/n)^1.5 they are denser after the boundary, where forgetting is fastest. n is
    `points`, or less where only `affordable` looks are left for the rest of the stage; the last step is one.
    """
    if affordable < 1 or done >= total:
        return math.inf
    place: float = (done / total) ** (1 / DENSER)
    place += max(1 / points, (1 - place) / affordable)
    return float(max(done + 1, min(total, round(total * place**DENSER))))


def summarise(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Means over optimizer steps as fields of a Point: loss, lr of the last, gradient norm, terms and their ratios.

    A mean is over the steps that had the loss or the term: a step may have no row left to the task loss.
    """
    if not steps:
        return {}
    mean: Callable[[list[Tensor]], float] = lambda values: float(torch.stack(values).mean())  # noqa: E731
    of_task = [step["loss"] for step in steps if step["loss"] is not None]
    loss = mean(of_task) if of_task else None
    terms: dict[str, float] = {}
    for name in dict.fromkeys(name for step in steps for name in step["terms"]):
        value = mean([step["terms"][name] for step in steps if name in step["terms"]])
        terms |= {name: value} | ({f"{name}/ratio": value / loss} if loss is not None else {})
    norm = mean([step["grad_norm"] for step in steps])
    return {"loss": loss, "lr": steps[-1]["lr"], "grad_norm": norm, "terms": terms}
