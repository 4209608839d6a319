"""Metrics of curves: scores of earlier tasks that are evaluated while later tasks are learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cl.metrics.catalog import evaluate
from cl.metrics.formula import Metric


@dataclass(frozen=True)
class Curves:
    """Scores that are evaluated during training, higher is better.

    Args:
        earlier: of each earlier task, the scores of all evaluations after its own training, including the evaluation
            before the first update of the next task.
        current: score of the current task now.
        every: number of optimizer steps between two evaluations.
    """

    earlier: Sequence[Sequence[float]]
    current: float
    every: int

    def numbers(self) -> list[int]:
        """The number in the keys of the metrics: `every`."""
        return [self.every]


def stability_gap(curves: Sequence[Sequence[float]], current: float, every: int) -> list[Metric]:
    """`min_acc/every_N` and `wc_acc/every_N` (2205.13452), from evaluations every N optimizer steps.

    Args:
        curves: of each earlier task, scores (higher is better) of all evaluations after its own training, including the
            evaluation before the first update of the next task.
        current: score of the current task now.
        every: N.
    """
    return list(evaluate({"curves": Curves(curves, current, every)}).values())
