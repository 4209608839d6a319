"""Losses on fixed windows of a split, for rows of R and for evaluation inside a stage."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cl.data.batches import collate
from cl.data.rows import Rows, rows
from cl.errors import UserError
from cl.graph.measurement_specs import EvaluateSpec, ItemwiseSpec, ProbeSpec
from cl.graph.roles import BASE, STATE, TOKENIZER, Inputs
from cl.graph.specs import snapshot
from cl.graph.stored import result_of
from cl.models import adapters
from cl.models.forward import TokenLoss, autocast


def opened(spec: EvaluateSpec | ProbeSpec | ItemwiseSpec, inputs: Inputs) -> Iterator[tuple[TokenLoss, list[str]]]:
    """Open the model of a row of R, and yield its loss with the names of the sets that the model answers.

    Without `spec.select`, one model answers all sets; otherwise one model is opened per adapter. Adapters are merged
    into the weights if possible.
    """
    select: Mapping[str, str] = spec.select or {}
    names = [*spec.sets, *(each.name for each in spec.harness)] if isinstance(spec, EvaluateSpec) else [*spec.sets]
    for adapter in dict.fromkeys(select.get(name) for name in names):
        state = inputs[STATE]
        if isinstance(spec, ProbeSpec) and spec.step is not None:
            state = state / snapshot(spec.step)
        if spec.select is None:
            found = adapters.load(state, inputs.get(BASE))
        else:
            found = adapters.alone(state, inputs[BASE], adapter)
        model = (adapters.merged(found) if adapters.mergeable(found) else found).to(spec.compute.device).eval()
        model.requires_grad_(True)  # nothing is trained, but autocast caches only casts of weights that need gradients
        separator = result_of(inputs[TOKENIZER])["separator_id"]
        loss = TokenLoss(model, separator, spec.packing.boundaries, spec.compute.attention)
        yield loss, [name for name in names if select.get(name) == adapter]
        del found, model, loss  # before the next model is opened


def score(
    loss: TokenLoss,
    windows: Rows,
    count: int,
    batch: int,
    device: str,
    precision: str,
    prefixes: torch.Tensor | None = None,
) -> tuple[float, int]:
    """Sum the loss over the first `count` rows of `windows`.

    Args:
        loss: loss of the model.
        windows: rows of a split.
        count: number of rows.
        batch: rows per forward pass.
        device: `cpu` or `cuda`.
        precision: `fp32` or `bf16`.
        prefixes: embeddings [rows, P, D] that are read before each row. None: nothing is.

    Returns:
        Loss in nats, and number of target tokens.
    """
    total, tokens = 0.0, 0
    with torch.no_grad(), autocast(device, precision):
        for start in range(0, count, batch):
            chosen = (windows[row] for row in range(start, min(start + batch, count)))
            found = collate(chosen, loss.separator).to(device)
            own = None if prefixes is None else prefixes[start : start + len(found.ids)].to(device)
            with loss.behind(own):
                total += float(loss.total(found))
            tokens += int(found.learned())
    return total, tokens


def window(folder: Path, name: str, split: str, sequence: int, tokens: int) -> tuple[Rows, int]:
    """Open the fixed window of a split: the leading rows that hold at most `tokens` tokens, but at least one row.

    Args:
        folder: folder of the data node.
        name: name of the data set.
        split: name of the split.
        sequence: tokens per row.
        tokens: largest number of tokens.

    Returns:
        All rows of the split, and the number of rows in the window.

    Raises:
        UserError: for a split shorter than one row.
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
    """UTF-8 bytes per target token of a split. Every token of the array except the first is a target."""
    return float(data_result["report"]["bytes"][split] / (data_result["tokens"][split] - 1))


class Validator:
    """Evaluates a fixed validation window of each data set during training.

    The model's mode and the state of every random generator are restored.

    Args:
        folders: data nodes by name.
        length: tokens per row of a data set, by its name.
        tokens: largest number of tokens per data set.
        batch: rows per forward pass.
    """

    def __init__(self, folders: Mapping[str, Path], length: Callable[[str], int], tokens: int, batch: int) -> None:
        self.windows = {
            name: window(folder, name, "validation", length(name), tokens) for name, folder in folders.items()
        }
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
