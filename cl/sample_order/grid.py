"""What is kept of reference runs: support points, and how every batch's gradient changes between them.

    column of batch b = [ g_b(X_0), dG_1b, dG_2b, ... ]      X_0 = where all runs start
    dG_kb = (g_b(end of k) - g_b(start of k)) / |d_k|         d_k = displacement k of a reference run

So the gradient of a batch at a support point is `path @ column`, where the path names the displacements that lead
there, and a gradient anywhere else is `coefficients @ column` with coefficients that an oracle chooses
(`cl.sample_order.grid_oracles`). Columns lie in one memory-mapped file, [columns, 1 + K, P] in fp32: differences of
gradients cancel, so none is rounded before it is formed.

Shapes: K displacements, P parameters, R reference runs, T batches, S orders.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Floats = npt.NDArray[np.float32]
TINY = 1e-30  # length of a displacement of nothing


class Trace(NamedTuple):
    """A run in one order: its batches [T], and the parameters [n, P] before some positions [n] and at its end."""

    order: tuple[int, ...]
    positions: tuple[int, ...]
    points: Floats

    def strided(self, stride: int) -> Trace:
        """Every so many-th point, and the last."""
        kept = [i for i, at in enumerate(self.positions) if at % stride == 0 or i == len(self.positions) - 1]
        return Trace(self.order, tuple(self.positions[i] for i in kept), self.points[kept])


@dataclass(frozen=True)
class Supports:
    """Support points of R reference runs from one start.

    start: X_0 [P]; directions: unit displacements U [K, P]; paths: [1 + K, K], of each support point (the start first)
    the displacements that lead to it; places: run and position of each point, the start as (0, 0); orders: of the runs.
    """

    start: Tensor
    directions: Tensor
    paths: Tensor
    places: tuple[tuple[int, int], ...]
    orders: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(traces: Sequence[Trace]) -> Supports:
        """The supports of traces that begin at the same point."""
        start = torch.from_numpy(np.array(traces[0].points[0]))
        count = sum(len(trace.positions) - 1 for trace in traces)
        paths, directions, places, k = torch.zeros(1 + count, count, dtype=torch.float64), [], [(0, 0)], 0
        for run, trace in enumerate(traces):
            path = torch.zeros(count, dtype=torch.float64)
            for i in range(1, len(trace.positions)):
                moved = torch.from_numpy(trace.points[i] - trace.points[i - 1])
                length = max(float(moved.double().norm()), TINY)
                directions.append(moved / length)
                path[k] = length
                k += 1
                paths[k] = path
                places.append((run, trace.positions[i]))
        return Supports(start, torch.stack(directions), paths, tuple(places), tuple(t.order for t in traces))

    @cached_property
    def gram(self) -> Tensor:
        """U U^T, [K, K] in fp64."""
        return (self.directions @ self.directions.T).double()

    def point(self, index: int) -> Tensor:
        """The parameters at a support point, [P]."""
        return self.start + self.paths[index].float() @ self.directions

    def at(self, run: int, position: int) -> int:
        """The support point of a run before a position. Raises KeyError where the stride left it out."""
        return 0 if position == 0 else self._numbers[run, position]

    @cached_property
    def _numbers(self) -> dict[tuple[int, int], int]:
        return {place: index for index, place in enumerate(self.places)}

    def of_runs(self, runs: Sequence[int]) -> Tensor:
        """The numbers of the displacements of some runs."""
        return torch.tensor([index - 1 for index, (run, _) in enumerate(self.places) if index and run in runs])


class Grid:
    """The columns of all batches, targets and, where asked for, parts of batches, on the support points.

    columns: [C, 1 + K, P], a memory map or an array; losses: [1 + K, C] at the points; batches, targets: how many
    columns come first of each; `parts` is where those of parts of batches begin.
    """

    def __init__(
        self, supports: Supports, columns: Floats, losses: npt.NDArray[np.float64], batches: int, targets: int
    ) -> None:
        self.supports, self.columns, self.losses, self.batches = supports, columns, losses, batches
        self.parts = batches + targets

    def column(self, index: int) -> Tensor:
        """[1 + K, P] of a batch, or of a target behind the batches."""
        return torch.from_numpy(np.asarray(self.columns[index]))

    def gradients(self, batches_S: Tensor, coefficients_SK: Tensor) -> Tensor:
        """g_b(X_0) + sum of coefficients * dG_b of each order's batch, [S, P]: a matrix product per distinct batch."""
        by_batch = batches_S.argsort()
        coefficients = coefficients_SK.float()[by_batch]
        found, begin = torch.empty(len(batches_S), self.columns.shape[2]), 0
        for batch, count in zip(*batches_S.unique(return_counts=True), strict=True):
            column, rows = self.column(int(batch)), slice(begin, begin := begin + int(count))
            torch.addmm(column[0], coefficients[rows], column[1:], out=found[rows])
        return found[by_batch.argsort()]


def differences(raw: Floats, supports: Supports) -> None:
    """Turn gradients at the support points into columns, in place: [columns, 1 + K, P]."""
    before = [0 if i == 0 or supports.places[i][0] != supports.places[i - 1][0] else i - 1 for i in range(len(raw[0]))]
    for column in raw:
        for k in range(len(column) - 1, 0, -1):  # from the end: what comes before is still a gradient
            length = max(float(supports.paths[k, k - 1]), TINY)
            column[k] = (column[k] - column[before[k]]) / length


def nbytes(columns: int, displacements: int, parameters: int) -> int:
    """Bytes of the columns of a grid."""
    return columns * (1 + displacements) * parameters * 4


def create(path: Path, columns: int, displacements: int, parameters: int) -> Floats:
    """A memory-mapped file for them, or the one that an interrupted attempt left."""
    shape = (columns, 1 + displacements, parameters)
    if path.exists():
        found: Floats = np.load(path, mmap_mode="r+", allow_pickle=False)
        if found.shape == shape:
            return found
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
