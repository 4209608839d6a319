"""Scores of a model on data sets: a row of the result matrix R, and the short look inside a task.

Loss is summed in nats over all target tokens of fixed windows, in a fixed batch size, in evaluation mode; so a
score depends on neither the order nor the batch in which it is computed beyond what is recorded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from cl import models
from cl.data import Rows, rows
from cl.errors import UserError
from cl.learner import TokenLoss
from cl.settings import Train


def score(loss: TokenLoss, windows: Rows, count: int, batch: int, device: str, precision: str) -> tuple[float, int]:
    """Summed loss in nats and number of target tokens on the first `count` rows of `windows`."""
    total, tokens = 0.0, 0
    with torch.no_grad(), autocast(device, precision):
        for start in range(0, count, batch):
            ids = torch.stack([windows[row] for row in range(start, min(start + batch, count))]).to(device)
            total += float(loss.total(ids))
            tokens += ids[:, 1:].numel()
    return total, tokens


def autocast(device: str, precision: str) -> torch.autocast:
    """bf16 autocast where the precision asks for it."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")


def result_of(folder: Path) -> dict[str, Any]:
    """What a stored node's computation returned, from its folder."""
    result: dict[str, Any] = json.loads((folder / "node.json").read_text(encoding="utf-8"))["result"]
    return result


def evaluate(
    spec: dict[str, Any], inputs: dict[str, Path], progress: Callable[[int, int], None] = lambda done, total: None
) -> dict[str, Any]:
    """Execute an evaluate node: one row of R on the test split of every data set.

    Returns {"cells": {name: {nll, tokens, bytes}}}. bytes are those of the whole split times the share of its
    tokens that was scored: exact for a whole split, and the mean rate of bytes per token otherwise.
    """
    train = Train(**spec["train"])
    device, precision = spec["device"], spec["precision"]
    model = models.load(inputs["state"]).to(device).eval()
    loss = TokenLoss(model, result_of(inputs["tokenizer"])["separator_id"], train.boundaries)
    cells: dict[str, dict[str, float]] = {}
    for done, name in enumerate(spec["sets"]):
        progress(done, len(spec["sets"]))
        windows, count = window(inputs[f"data/{name}"], name, "test", train.sequence, spec["tokens"])
        nll, tokens = score(loss, windows, count, spec["batch"], device, precision)
        cells[name] = {
            "nll": nll,
            "tokens": tokens,
            "bytes": tokens * bytes_per_token(result_of(inputs[f"data/{name}"])),
        }
    return {"cells": cells}


def window(folder: Path, name: str, split: str, sequence: int, tokens: int) -> tuple[Rows, int]:
    """Rows of a split and how many of them make its fixed window of at most `tokens` tokens: at least one, at most all.

    Raises UserError for a split that is shorter than one row.
    """
    found = rows(folder, split, sequence)
    if not len(found):
        raise UserError(
            f"{name}: the {split} split has {found.tokens.size} tokens, a row needs {sequence + 1}; "
            "give more text, a larger share in `split` or a smaller train.sequence"
        )
    return found, min(len(found), max(1, tokens // sequence))


def bytes_per_token(data_result: Mapping[str, Any], split: str = "test") -> float:
    """UTF-8 bytes per target token of a split; every token but the first of the array is a target."""
    return float(data_result["report"]["bytes"][split] / (data_result["tokens"][split] - 1))


class Probe:
    """A look at the fixed validation window of each data set while a model is being trained.

    It leaves the training untouched: mode and every random generator are as before.
    """

    def __init__(self, folders: Mapping[str, Path], train: Train, tokens: int, batch: int) -> None:
        self.windows = {
            name: window(folder, name, "validation", train.sequence, tokens) for name, folder in folders.items()
        }
        self.tokens = sum(count for _, count in self.windows.values()) * train.sequence  # of one look
        self.batch = batch

    def __call__(self, loss: TokenLoss, device: str, precision: str) -> dict[str, float]:
        """Loss in nats per token by data set."""
        training = loss.model.training
        loss.model.eval()
        with torch.random.fork_rng():
            pairs = {
                name: score(loss, windows, count, self.batch, device, precision)
                for name, (windows, count) in self.windows.items()
            }
        loss.model.train(training)
        return {name: nll / tokens for name, (nll, tokens) in pairs.items()}
