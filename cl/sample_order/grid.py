"""The stored part of reference runs: support points, and the change of every batch's gradient between them.

    column of batch b = [ g_b(X_0), dG_1b, dG_2b, ... ]      X_0 = common start of all runs
    dG_kb = (g_b(end of k) - g_b(start of k)) / |d_k|         d_k = displacement k of a reference run

The gradient of a batch at a support point is `path @ column`, where the path holds the lengths of the displacements
that lead to the point. A gradient at any other point is estimated as `coefficients @ column`, with coefficients chosen
by an oracle (`cl.sample_order.grid_oracles`). Columns are one memory-mapped file, [columns, 1 + K, P] in fp32:
differences of gradients cancel, so gradients are not rounded before the difference is taken.

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
TINY = 1e-30  # smallest length, so that no displacement is divided by 0


class Trace(NamedTuple):
    """A recorded run in one order.

    Args:
        order: number of the batch at each position, [T].
        positions: positions before which parameters are stored, and the end, [n].
        points: parameters at these positions, [n, P].
    """

    order: tuple[int, ...]
    positions: tuple[int, ...]
    points: Floats

    def strided(self, stride: int) -> Trace:
        """The trace with only the positions divisible by `stride`, and the last one."""
        kept = [i for i, at in enumerate(self.positions) if at % stride == 0 or i == len(self.positions) - 1]
        return Trace(self.order, tuple(self.positions[i] for i in kept), self.points[kept])


@dataclass(frozen=True)
class Supports:
    """Support points of R reference runs with a common start.

    Args:
        start: common start X_0 [P].
        directions: unit displacements U [K, P].
        paths: lengths of the displacements that lead to each support point, [1 + K, K]; row 0 is the start.
        places: run and position of each support point; (0, 0) for the start.
        orders: order of each run.
    """

    start: Tensor
    directions: Tensor
    paths: Tensor
    places: tuple[tuple[int, int], ...]
    orders: tuple[tuple[int, ...], ...]

    @staticmethod
    def of(traces: Sequence[Trace]) -> Supports:
        """The support points of traces that begin at the same point."""
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
        """Number of the support point of a run before a position.

        Raises:
            KeyError: the stride left the position out.
        """
        return 0 if position == 0 else self._numbers[run, position]

    @cached_property
    def _numbers(self) -> dict[tuple[int, int], int]:
        """Number of each support point by run and position."""
        return {place: index for index, place in enumerate(self.places)}

    def of_runs(self, runs: Sequence[int]) -> Tensor:
        """Numbers of the displacements of the given runs."""
        return torch.tensor([index - 1 for index, (run, _) in enumerate(self.places) if index and run in runs])


class Grid:
    """The columns of all batches, targets and (if stored) parts of batches at the support points.

    Args:
        supports: the support points.
        columns: a memory map or an array, [C, 1 + K, P]; batches first, then targets, then parts of batches.
        losses: loss of each column at each support point, [1 + K, C].
        batches: number of columns of batches.
        targets: number of columns of targets. The attribute `parts` is the number of the first column of parts.
    """

    def __init__(
        self, supports: Supports, columns: Floats, losses: npt.NDArray[np.float64], batches: int, targets: int
    ) -> None:
        self.supports, self.columns, self.losses, self.batches = supports, columns, losses, batches
        self.parts = batches + targets

    def column(self, index: int) -> Tensor:
        """Column [1 + K, P] of a batch, or of a target (numbered after the batches)."""
        return torch.from_numpy(np.asarray(self.columns[index]))

    def gradients(self, batches_S: Tensor, coefficients_SK: Tensor) -> Tensor:
        """Gradients [S, P] of one batch per order: g_b(X_0) + sum_k coefficients_k dG_kb.

        One matrix product per distinct batch.

        Args:
            batches_S: batch of each order, [S].
            coefficients_SK: coefficients of the displacements for each order, [S, K].
        """
        by_batch = batches_S.argsort()
        coefficients = coefficients_SK.float()[by_batch]
        found, begin = torch.empty(len(batches_S), self.columns.shape[2]), 0
        for batch, count in zip(*batches_S.unique(return_counts=True), strict=True):
            column, rows = self.column(int(batch)), slice(begin, begin := begin + int(count))
            torch.addmm(column[0], coefficients[rows], column[1:], out=found[rows])
        return found[by_batch.argsort()]


def differences(raw: Floats, supports: Supports) -> None:
    """Turn gradients at the support points into columns, in place.

    Args:
        raw: gradients of each column at the support points, [columns, 1 + K, P].
        supports: the support points.
    """
    before = [0 if i == 0 or supports.places[i][0] != supports.places[i - 1][0] else i - 1 for i in range(len(raw[0]))]
    for column in raw:
        for k in range(len(column) - 1, 0, -1):  # from the end, so that column[before[k]] is still a gradient
            length = max(float(supports.paths[k, k - 1]), TINY)
            column[k] = (column[k] - column[before[k]]) / length


def nbytes(columns: int, displacements: int, parameters: int) -> int:
    """Bytes that the columns of a grid take."""
    return columns * (1 + displacements) * parameters * 4


def create(path: Path, columns: int, displacements: int, parameters: int) -> Floats:
    """A new memory-mapped file for the columns, or the file of the same shape that an interrupted attempt left."""
    shape = (columns, 1 + displacements, parameters)
    if path.exists():
        found: Floats = np.load(path, mmap_mode="r+", allow_pickle=False)
        if found.shape == shape:
            return found
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=shape)
