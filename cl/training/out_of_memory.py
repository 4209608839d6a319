"""Smaller micro-batches where memory does not suffice. They change results by rounding only."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import TypeVar

import torch

from cl.errors import UserError

T = TypeVar("T")


def fitting(train: Callable[[int], T], batch: int, rows: int, note: Callable[[str], None]) -> tuple[T, int]:
    """Train with micro-batches that are halved as often as memory does not suffice.

    Args:
        train: trains with micro-batches of so many rows, from the newest checkpoint.
        batch: rows of an optimizer step.
        rows: rows of a micro-batch at first.
        note: is told of each change.

    Returns:
        What `train` returns, and the rows of a micro-batch at the end.

    Raises:
        UserError: if one row is too much.
    """
    while True:
        try:
            return train(rows), rows
        except (MemoryError, RuntimeError) as error:
            rows = _halved(batch, rows, error)
        note(f"out of memory; it goes on with micro-batches of {rows} rows, which changes results by rounding only")
        gc.collect()  # only now: the error held the tensors of the stage
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def _halved(batch: int, rows: int, error: Exception) -> int:
    """Half of the rows, or the largest number below that divides the batch.

    Raises:
        UserError: if one row is too much.
        Exception: the error itself, if it is not about memory.
    """
    if not isinstance(error, MemoryError | torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
        raise error
    if rows == 1:
        remedy = "lower train.sequence, set train.gradient_checkpointing or model.weights, or take a smaller model"
        raise UserError(f"train.micro_batch: one row needs more memory than there is; {remedy}") from error
    return next(size for size in range(rows // 2, 0, -1) if batch % size == 0)
