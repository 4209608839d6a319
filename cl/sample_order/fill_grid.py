"""Fill a grid with the gradient of every batch and target at every support point; resumable after each point."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from cl.sample_order import grid
from cl.sample_order.batch_gradients import Stream
from cl.sample_order.grid import Grid, Supports

DONE, COLUMNS = "done.json", "columns.npy"


def measure(
    stream: Stream,
    supports: Supports,
    folder: Path,
    part: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Grid:
    """Compute the grid of a stream at the support points, in files of a folder.

    Continues an interrupted attempt. Gradients of one point are computed one after another in fp32 (TF32 is off by
    torch's default) and become differences once all points are done.

    Args:
        stream: the batches and targets.
        supports: the support points.
        folder: where columns and progress are stored.
        part: rows of each batch whose own gradient is stored too, for the oracle `replay`; 0 for none.
        progress: called with the number of points done and their total.
    """
    asked = [partial(stream.gradient, batch) for batch in range(len(stream.batches))]
    asked += [partial(stream.target_gradient, name) for name in stream.targets]
    asked += [partial(stream.gradient, batch, rows=part) for batch in range(len(stream.batches) if part else 0)]
    points = len(supports.places)
    columns = grid.create(folder / COLUMNS, len(asked), points - 1, stream.size)
    losses = _before(folder, points, len(asked))
    for index in range(len(losses), points):
        theta = supports.point(index)
        found = [gradient(theta) for gradient in asked]
        for place, (_, gradient) in enumerate(found):
            columns[place, index] = gradient.numpy()
        columns.flush()  # type: ignore[attr-defined]
        losses.append([loss for loss, _ in found])
        (folder / DONE).write_text(json.dumps(losses), encoding="utf-8")
        progress(index + 1, points)
    grid.differences(columns, supports)
    columns.flush()  # type: ignore[attr-defined]
    return Grid(supports, columns, np.array(losses), len(stream.batches), len(stream.targets))


def _before(folder: Path, points: int, columns: int) -> list[list[float]]:
    """Losses at the points that an interrupted attempt has finished."""
    path = folder / DONE
    found: list[list[float]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    fits = len(found) <= points and all(len(row) == columns for row in found)
    return found if fits else []
