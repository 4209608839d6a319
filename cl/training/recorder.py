"""Recorder of a train node: training curve, evaluations inside the stage, and checkpoints.

The recorder does not change the training: an evaluation restores every random generator, and a checkpoint only reads.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pytorch_lightning as pl
import torch
from torch import Tensor

from cl import signals
from cl.config.checkpoints import Checkpoints
from cl.config.evaluation import Evaluation
from cl.data.mixture import Plan
from cl.data.rows import Rows
from cl.methods.contexts import Replaced
from cl.metrics.records import Point
from cl.training import checkpoint, distributed, step_records
from cl.training.checkpoint_writer import Writer
from cl.training.learner import Learner
from cl.training.optimizer import measured
from cl.training.snapshots import Snapshots
from cl.training.validation import Validator

POINTS = 100  # recorded points per stage, without points of evaluations
DENSER = 1.5  # evaluation i of n is at (i/n)^DENSER of a stage
FORWARD = 1 / 3  # cost of an evaluation per token, relative to a training step, until an evaluation was timed


class Watcher(Protocol):
    """Is told of a node's progress while the node is computed. Cannot change the result."""

    def progress(self, done: int, total: int) -> None:
        """Called when `done` of `total` steps are finished."""

    def point(self, point: Point) -> None:
        """Called when a point of the curve was recorded."""

    def note(self, text: str) -> None:
        """Called with a sentence for the user."""


@dataclass
class Job:
    """Everything that the training loop of a train node needs.

    Args:
        learner: model and methods.
        plan: rows of each step of the stage.
        sources: training rows by data set.
        replaced: rows that are trained on in place of the plan's.
        told: sentences about how the rows were cut.
        first: step at which the node starts.
        last: step at which the node ends.
        validator: evaluates inside the stage.
        device: `cpu` or `cuda`.
        precision: `fp32` or `bf16`.
        devices: number of processes on each machine.
        machines: number of machines.
        distributed: `ddp` or `fsdp`.
        work: scratch folder with the checkpoints.
        evaluation: number of evaluations inside the stage, and their share of its time.
        checkpoints: when checkpoints are saved.
        watcher: is told of progress and points.
        snapshots: keeps states inside the stage.
        points: recorded points of the curve.
        seconds: training time.
        eval_seconds: time of evaluations inside the stage.
    """

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
    snapshots: Snapshots
    machines: int = 1
    replaced: Sequence[Replaced] = ()
    told: Sequence[str] = ()
    points: list[Point] = field(default_factory=list)
    seconds: float = 0.0
    eval_seconds: float = 0.0

    @cached_property
    def _tokens(self) -> npt.NDArray[np.int64]:
        """Input tokens of each row of the plan, without padding."""
        found = np.empty_like(self.plan.row)
        for index, reading in enumerate(self.plan.readings):
            at = self.plan.stream == index
            found[at] = self.sources[reading.source].lengths[self.plan.row[at]]
        return found

    def seen(self, step: int) -> dict[str, int]:
        """Tokens read in this node up to `step`, by reading."""
        part = slice(self.first * self.plan.batch_rows, step * self.plan.batch_rows)
        streams = enumerate(self.plan.readings)
        return {str(key): int(self._tokens[part][self.plan.stream[part] == i].sum()) for i, key in streams}


class Recorder(pl.Callback):
    """Lightning callback that records the curve, evaluates the validation windows, and saves checkpoints.

    Args:
        job: the train node.
        optimizer_state: optimizer state of the parent. None: start with a fresh optimizer.
        resumed: checkpoint to go on from. None: start at the first step.
    """

    def __init__(self, job: Job, optimizer_state: dict[str, Tensor] | None, resumed: Path | None = None) -> None:
        self.job, self.optimizer_state, self.checkpoint = job, optimizer_state, resumed
        self.optimizer: torch.optim.Optimizer | None = None
        count = job.last - job.first
        self.record_at = {job.first + round(i * count / POINTS) for i in range(POINTS + 1)}
        self.losses: list[dict[str, Any]] = []
        self.clock = time.monotonic()
        self.writer = Writer(job.work / "checkpoint", job.checkpoints)
        self.evaluation_cost = 0.0  # seconds of the last evaluation
        self.step_cost = math.inf  # seconds per step, of the fastest steps
        self.next_evaluation = math.inf  # step

    def begin(self, optimizer: torch.optim.Optimizer) -> None:
        """Restore the newest whole checkpoint, or record the state before the first update."""
        resumed = self._restore(self.job.learner, optimizer)
        self.clock = time.monotonic()
        self.writer.begin()
        if resumed:
            for point in self.job.points:  # the watcher may have missed some when the process was killed
                self.job.watcher.point(point)
        else:
            self._plan_evaluation(first=True)
            self._record(self.job.learner)

    def _restore(self, learner: Learner, optimizer: torch.optim.Optimizer) -> bool:
        """Restore the newest whole checkpoint, or else the parent's optimizer state; whether there was a checkpoint."""
        self.optimizer = optimizer
        if self.checkpoint is None:
            if self.optimizer_state is not None:
                checkpoint.load_optimizer(optimizer, self.optimizer_state)
            return False
        state = checkpoint.restore(self.checkpoint, learner.model, optimizer, learner.methods)
        learner.step = state["step"]
        self.job.points = [Point(**point) for point in state["points"]]
        self.job.seconds, self.job.eval_seconds = state["seconds"], state["eval_seconds"]
        self.losses = [step_records.unpack(step, first=distributed.rank() == 0) for step in state["pending"]]
        self.evaluation_cost, self.step_cost, self.next_evaluation = state["planning"]
        return True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore or record the state before the first step."""
        signals.take_over()
        signals.unsaved(distributed.world() > 1)  # several processes end together, after a step
        self.begin(trainer.optimizers[0])

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """From here on there is nothing to save."""
        signals.unsaved(False)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Record a point, evaluate and save a checkpoint if due."""
        learner = self.job.learner
        self.losses.append(learner.last)
        if learner.step in self.record_at or learner.step == self.next_evaluation or learner.step == self.job.last:
            self._record(learner)
        self.job.watcher.progress(learner.step - self.job.first, self.job.last - self.job.first)
        with self._measured():
            self.job.snapshots.save_if_due(learner.model, learner.step)
        self._save_if_due(learner)

    def _record(self, learner: Learner) -> None:
        means = step_records.summarise(
            distributed.all_gather_sum(self.losses)
        )  # before the clock is read: waits for the device
        for method in learner.methods if means else ():
            means["terms"] |= method.figures()
        if not all(math.isfinite(means.get(name) or 0.0) for name in ("loss", "grad_norm")):
            before = [point.loss for point in self.job.points if point.loss is not None]
            raise step_records.divergence(self.losses, learner.step, before[-1] if before else None)
        now = time.monotonic()
        self.job.seconds += now - self.clock
        if self.losses:
            self.step_cost = min(self.step_cost, (now - self.clock) / len(self.losses))
        scores = self._evaluate(learner) if learner.step == self.next_evaluation else {}
        self.clock = time.monotonic()
        self.job.eval_seconds += self.clock - now
        if scores or self.next_evaluation < learner.step:
            self._plan_evaluation()
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

    def _evaluate(self, learner: Learner) -> dict[str, float]:
        """Evaluate the validation windows, and time the evaluation."""
        started = time.monotonic()
        with self._measured():
            scores = self.job.validator(learner.token_loss, self.job.device, self.job.precision)
        distributed.reshard(learner.token_loss)
        self.evaluation_cost = time.monotonic() - started
        return scores

    def _measured(self) -> AbstractContextManager[None]:
        """Context with the parameters that are measured and stored."""
        assert self.optimizer is not None
        return measured(self.optimizer)

    def _plan_evaluation(self, first: bool = False) -> None:
        """Set the step of the next evaluation such that all evaluations keep within their share of the stage's time.

        The stage's time is estimated from its fastest steps, so that neither compilation nor a stall adds evaluations.
        Before an evaluation was timed, its cost per token is taken as FORWARD of a training step's.

        Args:
            first: the stage has not started.
        """
        job, done, total = self.job, self.job.learner.step - self.job.first, self.job.last - self.job.first
        if not total or not job.evaluation.points:
            return
        if first:
            share = FORWARD * job.validator.tokens / (total * job.plan.batch_rows * job.plan.row_tokens)
            self.next_evaluation = job.first if share <= job.evaluation.share else math.inf
        elif math.isinf(self.step_cost):
            self.next_evaluation = -1  # no step was timed yet: plan after the next recorded point
        else:
            left = job.evaluation.share * self.step_cost * total - job.eval_seconds
            cost, points = self.evaluation_cost, job.evaluation.points
            affordable = math.floor(left / cost + 1e-9) if cost else points
            self.next_evaluation = job.first + next_evaluation(done, total, points, affordable)
        self.next_evaluation = distributed.broadcast(self.next_evaluation)

    def _save_if_due(self, learner: Learner) -> None:
        """Save a checkpoint if its time has come or the process was asked to end; in that case end it."""
        signals.unsaved(True)
        self.writer.check()
        if distributed.agreed(signals.asked() is not None, learner.step):
            self._save(learner)
            self.writer.wait()
            signals.check()
            raise signals.Interrupted(signal.SIGTERM)  # another process was asked
        step, every = learner.step, self.job.checkpoints.steps
        asked = every is not None and step % every == 0
        if step == self.job.last or (distributed.world() > 1 and not asked and step not in self.record_at):
            return  # several processes compare clocks at recorded points only, not in every step
        if distributed.broadcast(self.writer.due(step)):
            self._save(learner)

    def _save(self, learner: Learner) -> None:
        """Save a checkpoint. It holds the steps since the last point, because a checkpoint must not add a point."""
        now = time.monotonic()
        extra = {
            "points": [asdict(point) for point in self.job.points],
            "seconds": self.job.seconds + now - self.clock,
            "eval_seconds": self.job.eval_seconds,
            "pending": [step_records.pack(step) for step in distributed.all_gather_sum(self.losses)],
            "planning": [self.evaluation_cost, self.step_cost, self.next_evaluation],
        }
        assert self.optimizer is not None
        self.writer.save(learner.step, learner.model, self.optimizer, learner.methods, extra)
        signals.unsaved(distributed.world() > 1 or self.writer.busy)  # written in the background: not saved yet
        self.clock += time.monotonic() - now  # neither copying nor writing is training time


def next_evaluation(done: int, total: int, points: int, affordable: int) -> float:
    """Step of the evaluation after the evaluation at step `done`; infinity if there is none.

    Evaluation i of n is at step total * (i/n)^1.5, so that evaluations are denser after the start of a stage, where
    forgetting is fastest. The last step is evaluated. n is `points`, or less if fewer evaluations are affordable.

    Args:
        done: steps done.
        total: steps of the stage.
        points: largest number of evaluations in the stage.
        affordable: largest number of evaluations in the rest of the stage.
    """
    if affordable < 1 or done >= total:
        return math.inf
    place: float = (done / total) ** (1 / DENSER)
    place += max(1 / points, (1 - place) / affordable)
    return float(max(done + 1, min(total, round(total * place**DENSER))))
