"""Compute a select node: the examples of a set that a method selects, as a new data set."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from cl.data import tokenization
from cl.data.batches import collate
from cl.data.rows import IGNORE, Row
from cl.errors import UserError
from cl.graph.roles import BASE, STATE, TOKENIZER, Inputs, data
from cl.graph.specs import SelectSpec
from cl.graph.stored import result_of
from cl.methods import strategy
from cl.methods.method import Selects
from cl.models import adapters, losses, pretrained
from cl.models.forward import TokenLoss, autocast
from cl.steps.context import Context
from cl.tasks.example import Example

ROWS = 8  # rows per forward pass
Progress = Callable[[int, int], None]


class Scored:
    """Implements `cl.methods.contexts.Candidates`: the examples of a training split and the model that scores them.

    Args:
        loss: loss of the model.
        found: the examples.
        tokenizer: the transformers tokenizer.
        spec: specification of the select node.
        progress: called with the numbers of scored and of all examples.
    """

    def __init__(
        self, loss: TokenLoss, found: Sequence[Example], tokenizer: Any, spec: SelectSpec, progress: Progress
    ) -> None:
        self.loss, self.found, self.tokenizer = loss, found, tokenizer
        self.chat = tokenization.chat_of(tokenizer, spec.system, spec.template)
        self.seed, self.compute, self.progress = spec.seed, spec.compute, progress

    def __len__(self) -> int:
        return len(self.found)

    def nll(self, templated: bool, whole: bool) -> Tensor:
        """Mean negative log-likelihood in nats per token [n].

        Args:
            templated: render examples in the chat template; otherwise as plain text.
            whole: average over the whole example without its first token; otherwise over the answer with its end.

        Raises:
            UserError: for plain text if there is no chat template, because both texts would be equal.
        """
        if not templated and not self.tokenizer.chat_template:
            raise UserError("score: fas_* compares with the chat template, which this tokenizer has not; use ppl")
        parts = []
        with torch.no_grad(), autocast(self.compute.device, self.compute.precision):
            for start in range(0, len(self), ROWS):
                self.progress(start, len(self))
                chosen = [self._row(example, templated, whole) for example in self.found[start : start + ROWS]]
                batch = collate(chosen, self.loss.separator).to(self.compute.device)
                learned = batch.learned_by_row()
                parts.append(losses.row_nll(self.loss.outputs(batch), learned) / learned)
        return torch.cat(parts).cpu()

    def _row(self, example: Example, templated: bool, whole: bool) -> Row:
        """An example as a row."""
        if templated:
            question, answer = tokenization.dialogue(example, self.tokenizer, self.loss.separator, self.chat)
        else:
            question, answer = tokenization.plain(example, self.tokenizer, self.loss.separator)
        ids = torch.tensor([*question, *answer])
        targets = ids[1:].clone()
        # The first target is always ignored, because it marks a dialogue: see cl.data.batches.segments.
        targets[: 1 if whole else len(question) - 1] = IGNORE
        return Row(ids, targets)


def run(spec: SelectSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Store the arrays of a set with only the selected rows in the training split.

    Returns:
        Result of the data node, with the numbers of the selected rows under `chosen` and the number of all rows under
        `of`.

    Raises:
        UserError: if the set has fewer examples than the method selects.
    """
    method = strategy.build_method(spec.method, f"selection of {spec.set}")
    assert isinstance(method, Selects)
    folder = inputs[data(spec.set)]
    found = tokenization.examples(folder, "train")
    wanted = method.selection_size()
    if wanted is None or wanted > len(found):
        raise UserError(f"count: {wanted} is more than the {len(found)} training examples of {spec.set}; lower it")
    chosen = sorted(method.select(_scored(spec, inputs, found, context.watcher.progress)))
    assert len(set(chosen)) == wanted, f"{wanted} examples were to be selected, not {chosen}"
    arrays = load_file(folder / "tokens.safetensors")
    save_file(arrays | _only(arrays, chosen), context.out / "tokens.safetensors")
    kept = json.loads((folder / "train.examples.json").read_text(encoding="utf-8"))
    (context.out / "train.examples.json").write_text(json.dumps([kept[row] for row in chosen]), encoding="utf-8")
    return result_of(folder) | {"chosen": chosen, "of": len(found)}


def _scored(spec: SelectSpec, inputs: Inputs, found: list[Example], progress: Progress) -> Scored:
    """The candidates, with the parent's model; of a preference, the better answer counts."""
    opened = adapters.load(inputs[STATE], inputs.get(BASE))
    model = (adapters.merged(opened) if adapters.mergeable(opened) else opened).to(spec.compute.device).eval()
    separator = result_of(inputs[TOKENIZER])["separator_id"]
    loss = TokenLoss(model, separator, spec.packing.boundaries, spec.compute.attention)
    tokenizer = pretrained.stored_tokenizer(inputs[TOKENIZER])
    better = [replace(example, rejected=None) for example in found]
    return Scored(loss, better, tokenizer, spec, progress)


def _only(arrays: Mapping[str, npt.NDArray[Any]], chosen: Sequence[int]) -> dict[str, npt.NDArray[Any]]:
    """Arrays of the training split with only the chosen rows. A preference pair is stored as two dialogues."""
    paired = "train.pairs" in arrays
    kept = [one for row in chosen for one in ((2 * row, 2 * row + 1) if paired else (row,))]
    starts = arrays["train.starts"]
    pieces = [arrays["train"][starts[row] : starts[row + 1]] for row in kept]
    return {
        "train": np.concatenate(pieces),
        "train.starts": np.cumsum([0, *map(len, pieces)], dtype=np.int64),
        "train.answers": arrays["train.answers"][kept],
        **({"train.pairs": np.array([len(chosen)])} if paired else {}),
    }
