"""Record a run in some order: a callback that keeps the parameters before each step, and the run itself.

Only parameters, batches and positions are kept. Gradients are recomputed from them later in one code path
(`cl.sample_order.batch_gradients`): the gradient that Lightning shows before an optimizer step is not yet clipped,
and one of a bf16 step is of no use where differences cancel.
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
    """Keeps the trained parameters before each optimizer step and at the end, and seeds each batch's dropout.

    stream: whose learner is fitted; order: batch of each position; points: where they are written, [n, P], for instance
    a memory map; every: positions between two points; first: position of the fit's first step, of the legs before it.
    Works in any `Trainer.fit` of the stream's learner with a loader of its batches in that order.
    """

    def __init__(self, stream: Stream, order: Sequence[int], points: Floats, every: int = 1, first: int = 0) -> None:
        self.stream, self.order, self.points, self.every, self.first = stream, tuple(order), points, every, first
        self.positions: list[int] = []

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Keep the parameters where a point is due. Raises UserError for a step that the order does not have."""
        position = self.first + batch_idx
        if position >= len(self.order):
            raise UserError(f"order: the run has more steps than the {len(self.order)} of its order")
        if position % self.every == 0:
            self._keep(position)
        torch.manual_seed(batch_seed(self.stream.seed, self.order[position]))

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep the parameters at the end."""
        if self.first + trainer.fit_loop.epoch_loop.batch_idx + 1 == len(self.order):
            self._keep(len(self.order))

    def _keep(self, position: int) -> None:
        self.points[len(self.positions)] = self.stream.read().numpy()
        self.positions.append(position)

    @property
    def trace(self) -> Trace:
        """What was recorded. Raises UserError for a run that did not come to the end of its order."""
        if self.positions[-1:] != [len(self.order)]:
            raise UserError(f"order: the run ended before the {len(self.order)} steps of its order")
        return Trace(self.order, tuple(self.positions), self.points)


def count_points(steps: int, every: int) -> int:
    """Points of a run of so many steps."""
    return len(range(0, steps, every)) + 1


def record(
    stream: Stream, order: Sequence[int], start_P: torch.Tensor, path: Path | None = None, every: int = 1
) -> Trace:
    """Train in an order from the given parameters, each leg with a Trainer and, unless kept, an optimizer of its own.

    path: of the file that the points are written to, a memory map; None: they stay in memory.
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
    """Hands over the state of an optimizer."""

    def __init__(self, before: Mapping[str, torch.Tensor] | None) -> None:
        self.before = before

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.before is not None:
            checkpoint.load_optimizer(trainer.optimizers[0], self.before)


def _trainer(stream: Stream, callbacks: list[pl.Callback]) -> pl.Trainer:
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
    """What the optimizer does at each position of the stream."""
    rates: list[float] = []
    restarts: list[bool] = []
    for leg, (learner, steps) in enumerate(stream.legs):
        rates += [learner.learning_rate(position) for position in range(steps)]
        restarts += [not (stream.kept if leg else stream.before), *[False] * (steps - 1)]
    optimizer = stream.learner.configure_optimizers()
    if stream.before is not None:
        checkpoint.load_optimizer(optimizer, stream.before)
    return Update.of(optimizer, stream.trained, rates, restarts, stream.learner.settings.clip)
