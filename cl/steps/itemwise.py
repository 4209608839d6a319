"""Compute an itemwise node: the metric of a state on each item of some sets, for comparisons in pairs.

An item is a row of the fixed window that `cl.training.validation.window` opens, or a question. Two states have the same
items in the same order.
"""

from __future__ import annotations

from typing import Any

import torch

from cl.data.rows import DialogueRows
from cl.data.tokenization import examples
from cl.graph.measurement_specs import ItemwiseSpec
from cl.graph.roles import Inputs, data
from cl.graph.specs import row_length
from cl.graph.stored import result_of
from cl.models import decoding
from cl.models.forward import autocast
from cl.models.row_losses import row_losses
from cl.steps import evaluate
from cl.steps.answering import Answerer, answering
from cl.steps.context import Context
from cl.training.validation import opened, window


def run(spec: ItemwiseSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Measure a state.

    Returns:
        {"items": {set: value of each item}}: losses in nats/token, or scores in [0, 1].
    """
    found: dict[str, list[float]] = {}
    for loss, own in opened(spec, inputs):
        with answering(loss, spec, inputs) as answerer:
            for name in own:
                context.watcher.progress(len(found), len(spec.sets))
                found[name] = _items(answerer, spec, inputs, name)
    return {"items": found}


def _items(answerer: Answerer, spec: ItemwiseSpec, inputs: Inputs, name: str) -> list[float]:
    """Value of each item of one set."""
    windows, count = window(inputs[data(name)], name, spec.split, row_length(spec.packing, name), spec.tokens)
    with torch.no_grad(), autocast(spec.compute.device, spec.compute.precision):
        if spec.metric == "loss":
            return row_losses(answerer.loss, windows, count, spec.batch, spec.compute.device).tolist()
        assert isinstance(windows, DialogueRows)  # checked while planning
        return _scores(answerer, spec, inputs, name, windows)


def _scores(answerer: Answerer, spec: ItemwiseSpec, inputs: Inputs, name: str, windows: DialogueRows) -> list[float]:
    """Score of the answer to each of the first questions."""
    folder = inputs[data(name)]
    found = examples(folder, spec.split)[: spec.items]
    asked = [[(example, windows.question(row))] for row, example in enumerate(found)]
    ends = {result_of(folder)["end_of_turn"], *decoding.stated_ends(answerer.loss.model)}
    answered = evaluate.answer(answerer, windows, asked, [spec.metric], ends)
    return [float(item[spec.metric]) for item in answered]
