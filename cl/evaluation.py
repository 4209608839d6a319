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
        windows = rows(inputs[f"data/{name}"], "test", train.sequence)
        count = window_rows(windows, spec["tokens"], train.sequence)
        nll, tokens = score(loss, windows, count, spec["batch"], device, precision)
        cells[name] = {
            "nll": nll,
            "tokens": tokens,
            "bytes": tokens * bytes_per_token(result_of(inputs[f"data/{name}"])),
        }
    return {"cells": cells}


def window_rows(windows: Rows, tokens: int, sequence: int) -> int:
    """Rows in a fixed window of at most `tokens` tokens: at least one, at most all."""
    return min(len(windows), max(1, tokens // sequence))


def bytes_per_token(data_result: Mapping[str, Any], split: str = "test") -> float:
    """UTF-8 bytes per target token of a split; every token but the first of the array is a target."""
    return float(data_result["report"]["bytes"][split] / (data_result["tokens"][split] - 1))


class Probe:
    """A look at the fixed validation window of each data set while a model is being trained.

    It leaves the training untouched: mode and every random generator are as before.
    """

    def __init__(self, folders: Mapping[str, Path], train: Train, tokens: int, batch: int) -> None:
        self.windows = {name: rows(folder, "validation", train.sequence) for name, folder in folders.items()}
        self.counts = {name: window_rows(w, tokens, train.sequence) for name, w in self.windows.items()}
        self.batch = batch

    def __call__(self, loss: TokenLoss, device: str, precision: str) -> dict[str, float]:
        """Loss in nats per token by data set."""
        training = loss.model.training
        loss.model.eval()
        with torch.random.fork_rng():
            pairs = {
                name: score(loss, windows, self.counts[name], self.batch, device, precision)
                for name, windows in self.windows.items()
            }
        loss.model.train(training)
        return {name: nll / tokens for name, (nll, tokens) in pairs.items()}
