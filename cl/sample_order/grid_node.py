"""Compute a grid node: the gradients of all batches and sets along the reference runs of an estimator.

    trace, trace, … ──grid──▶ gradients ──order──▶ estimates, validation, search, positions, task orders

Losses are nats per token of the validation sets.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch

from cl.errors import UserError
from cl.graph.roles import Inputs
from cl.sample_order import fill_grid, references, trace, trace_recorder
from cl.sample_order.batch_gradients import Stream
from cl.sample_order.grid import Supports, nbytes
from cl.sample_order.specs import GridSpec
from cl.steps.context import Context

STARS = "stars.npy"


def run(spec: GridSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Store the gradient of every batch and set at every support point of the reference runs.

    An interrupted call continues from the gradients in the scratch folder.

    Returns:
        Losses at the points, number of gradients, seconds.

    Raises:
        UserError: for a grid larger than `spec.gigabytes`.
    """
    started, work = time.monotonic(), context.work
    stream, traces = trace.open_stream(spec, inputs), trace.traces(spec, inputs)
    _check_size(spec, stream, sum(len(run.positions) - 1 for run in traces))
    if spec.stars:
        start = torch.from_numpy(np.array(traces[0].points[0]))
        stars = references.stars(stream, trace_recorder.update_of(stream), start)
        np.save(context.out / STARS, np.stack([star.points[1] for star in stars]))
        traces += stars
    found = fill_grid.measure(stream, Supports.of(traces), work, spec.part, context.watcher.progress)
    (work / fill_grid.COLUMNS).rename(context.out / fill_grid.COLUMNS)
    return {"losses": found.losses.tolist(), "gradients": found.losses.size, "seconds": time.monotonic() - started}


def _check_size(spec: GridSpec, stream: Stream, displacements: int) -> None:
    """Raises UserError for a grid larger than `spec.gigabytes`."""
    columns = len(stream.batches) * (2 if spec.part else 1) + len(stream.targets)
    needed = nbytes(columns, displacements + (len(stream.batches) if spec.stars else 0), stream.size)
    if needed > spec.gigabytes * 1e9:
        raise UserError(
            f"order.gigabytes: the grid of {stream.size:,} parameters takes {needed / 1e9:.1f} GB, more than "
            f"{spec.gigabytes:g}; raise it, raise order.stride, train fewer steps, or use LoRA"
        )
