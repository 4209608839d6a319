"""Losses on fixed windows of a split: a row of R, and evaluation inside a stage."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cl.data.batches import Rows, collate, rows
from cl.errors import UserError
from cl.graph.roles import BASE, STATE, TOKENIZER, Inputs
from cl.graph.specs import EvaluateSpec, ProbeSpec
from cl.graph.stored import result_of
from cl.models import adapters
from cl.models.forward import TokenLoss, autocast


def opened(spec: EvaluateSpec | ProbeSpec, inputs: Inputs) -> Iterator[tuple[TokenLoss, list[str]]]:
    """Open the model that a row of R is of, and yield it with the names of the sets that it answers.

    One model for all sets; or, where sets have adapters of their own, one for each adapter. Adapters are merged where
    they can be.
    """
    select: Mapping[str, str] = spec.select or {}
    for adapter in dict.fromkeys(select.get(name) for name in spec.sets):
        if spec.select is None:
            found = adapters.load(inputs[STATE], inputs.get(BASE))
        else:
            found = adapters.alone(inputs[STATE], inputs[BASE], adapter)
        model = (adapters.merged(found) if adapters.mergeable(found) else found).to(spec.compute.device).eval()
        model.requires_grad_(True)  # nothing is trained here, but autocast keeps the casts of such weights only
        loss = TokenLoss(model, result_of(inputs[TOKENIZER])["separator_id"], spec.packing.boundaries)
        yield loss, [name for name in spec.sets if select.get(name) == adapter]
        del found, model, loss  # before the next model is opened


def score(loss: TokenLoss, windows: Rows, count: int, batch: int, device: str, precision: str) -> tuple[float, int]:
    """Summed loss in nats and number of target tokens on the first `count` rows of `windows`."""
    total, tokens = 0.0, 0
    with torch.no_grad(), autocast(device, precision):
        for start in range(0, count, batch):
            chosen = (windows[row] for row in range(start, min(start + batch, count)))
            found = collate(chosen, loss.separator).to(device)
            total += float(loss.total(found))
            tokens += int(found.learned())
    return total, tokens


def window(folder: Path, name: str, split: str, sequence: int, tokens: int) -> tuple[Rows, int]:
    """Rows of a split and how many of them make its fixed window of at most `tokens` tokens: at least one, at most all.

    Raises UserError for a split that is shorter than one row.
    """
    found = rows(folder, name, split, sequence)
    if not len(found):
        raise UserError(
            f"{name}: the {split} split is shorter than a row of {sequence + 1} tokens; "
            "give more text, a larger share in `split` or a smaller train.sequence"
        )
    fit = int((np.cumsum(found.lengths) <= tokens).sum())
    return found, max(1, fit)


def bytes_per_token(data_result: Mapping[str, Any], split: str = "test") -> float:
    """UTF-8 bytes per target token of a split; every token but the first of the array is a target."""
    return float(data_result["report"]["bytes"][split] / (data_result["tokens"][split] - 1))


class Validator:
    """Evaluates a fixed validation window of each data set while a model is being trained.

    The training is left untouched: mode and every random generator are as before.

    Args:
        folders: data nodes by name.
        sequence: tokens per row.
        tokens: largest number of tokens per data set.
        batch: rows per forward pass.
    """

    def __init__(self, folders: Mapping[str, Path], sequence: int, tokens: int, batch: int) -> None:
        self.windows = {name: window(folder, name, "validation", sequence, tokens) for name, folder in folders.items()}
        self.tokens = sum(int(found.lengths[:count].sum()) for found, count in self.windows.values())
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
