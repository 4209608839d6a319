"""Record a run in a given order: a callback that stores the parameters before each step, and the run itself.

Only parameters, batches and positions are stored. Gradients are recomputed from them later in one code path
(`cl.sample_order.batch_gradients`): a gradient that Lightning exposes before an optimizer step is not yet clipped, and
a gradient of a bf16 step is too inexact where differences cancel.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader

from cl.errors import UserError
from cl.sample_order.batch_gradients import Stream, batch_seed
from cl.sample_order.grid import Floats, Trace
from cl.sample_order.optimizer_replay import Update
from cl.training import checkpoint

logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)


class OrderRecorder(pl.Callback):
    """Stores the trained parameters before each optimizer step and at the end, and seeds each batch's dropout.

    Works in any `Trainer.fit` of the stream's learner with a loader of the stream's batches in that order.

    Args:
        stream: the stream whose learner is fitted.
        order: number of the batch at each position.
        points: array that the parameters are written to, [n, P], for instance a memory map.
        every: positions between two stored points.
        first: position of the first step of this fit; the legs before it took the earlier positions.
    """

    def __init__(self, stream: Stream, order: Sequence[int], points: Floats, every: int = 1, first: int = 0) -> None:
        self.stream, self.order, self.points, self.every, self.first = stream, tuple(order), points, every, first
        self.positions: list[int] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Store the parameters if a point is due, and seed the batch's dropout.

        Raises:
            UserError: the run has more steps than the order.
        """
        position = self.first + batch_idx
        if position >= len(self.order):
            raise UserError(f"order: the run has more steps than the {len(self.order)} of its order")
        if position % self.every == 0:
            self._keep(position)
        torch.manual_seed(batch_seed(self.stream.seed, self.order[position]))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Store the parameters at the end of the order."""
        if self.first + trainer.fit_loop.epoch_loop.batch_idx + 1 == len(self.order):
            self._keep(len(self.order))

    def _keep(self, position: int) -> None:
        """Store the current parameters as the next point."""
        self.points[len(self.positions)] = self.stream.read().numpy()
        self.positions.append(position)

    @property
    def trace(self) -> Trace:
        """The recorded trace.

        Raises:
            UserError: the run ended before its order did.
        """
        if self.positions[-1:] != [len(self.order)]:
            raise UserError(f"order: the run ended before the {len(self.order)} steps of its order")
        return Trace(self.order, tuple(self.positions), self.points)


def count_points(steps: int, every: int) -> int:
    """Number of stored points of a run of `steps` steps with one point every `every` positions."""
    return len(range(0, steps, every)) + 1


def record(
    stream: Stream, order: Sequence[int], start_P: torch.Tensor, path: Path | None = None, every: int = 1
) -> Trace:
    """Train in a given order from given parameters.

    Each leg has a Trainer of its own and, unless `stream.kept`, an optimizer of its own.

    Args:
        stream: the batches and learners.
        order: number of the batch at each position.
        start_P: parameters at the start.
        path: file for the stored points, a memory map; None keeps the points in memory.
        every: positions between two stored points.
    """
    shape = (count_points(len(order), every), stream.size)
    points: Floats = np.empty(shape, np.float32)
    if path is not None:
        points = np.lib.format.open_memmap(path, "w+", np.float32, shape)
    stream.write(start_P)
    recorder, before = OrderRecorder(stream, order, points, every), stream.before
    for learner, steps in stream.legs:
        learner.step = 0
        trainer = _trainer(stream, [recorder, _Going(before)])
        own = [stream.batches[batch] for batch in order[recorder.first : recorder.first + steps]]
        trainer.fit(learner, DataLoader(own, batch_size=None))  # type: ignore[arg-type]
        before = checkpoint.optimizer_tensors(trainer.optimizers[0]) if stream.kept else None
        recorder.first += steps
    return recorder.trace


class _Going(pl.Callback):
    """Starts a fit with the optimizer state of the leg before, if there is one."""

    def __init__(self, before: Mapping[str, torch.Tensor] | None) -> None:
        self.before = before

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.before is not None:
            checkpoint.load_optimizer(trainer.optimizers[0], self.before)


def _trainer(stream: Stream, callbacks: list[pl.Callback]) -> pl.Trainer:
    """A Trainer for one leg, fp32 on one device, without logs and checkpoints."""
    return pl.Trainer(
        accelerator="gpu" if stream.device.startswith("cuda") else "cpu",
        devices=1,
        max_epochs=1,
        precision="32-true",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=callbacks,
        use_distributed_sampler=False,
    )


def update_of(stream: Stream) -> Update:
    """The optimizer step at each position of the stream."""
    rates: list[float] = []
    restarts: list[bool] = []
    for leg, (learner, steps) in enumerate(stream.legs):
        rates += [learner.learning_rate(position) for position in range(steps)]
        restarts += [not (stream.kept if leg else stream.before), *[False] * (steps - 1)]
    optimizer = stream.learner.configure_optimizers()
    if stream.before is not None:
        checkpoint.load_optimizer(optimizer, stream.before)
    return Update.of(optimizer, stream.trained, rates, restarts, stream.learner.settings.clip)
