"""Compute a teacher node: a model's predictions on the rows of one data set that a stage reads.

`teacher.safetensors` holds, for N learned tokens of R rows:

    rows [R]         numbers of the rows, ascending
    starts [R+1]     index of the first token of each row

and, for `cache_hidden`, final hidden states in fp16, which with the teacher's output layer give its predictions:

    hidden [N, D]

or, for `cache_sampled` and `cache_top_k`, a sample (`cl.models.distillation.Sampled`):

    ids [N, K]; first, entropy, log_p_first, log_p_gold [N]; weights [N, K] unless all are 1 / K

Size: 2 D bytes per token, or 4 K + 16 bytes (8 K + 16 with weights). Neither the learning rate nor the weight of a term
is in the node's key, so all trials of an experiment share the node.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from cl.data.batches import collate
from cl.data.rows import Rows, rows
from cl.data.sampling import reading_seed, row_order
from cl.errors import UserError
from cl.graph.roles import BASE, STATE, TOKENIZER, Inputs, data
from cl.graph.specs import TeacherSpec
from cl.graph.stored import result_of
from cl.methods.method import Teaching
from cl.models import distillation
from cl.models.distillation import Sampled
from cl.models.forward import TokenLoss, autocast
from cl.models.losses import Outputs
from cl.steps.context import Context
from cl.training import teachers
from cl.training.teachers import FILE

ROWS = 8  # rows per forward pass


def run(spec: TeacherSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Store a model's predictions on the rows of one set at `spec.positions` of its reading order.

    Parents: the model `state` (with `base` if `state` holds adapters only), the tokenizer and the set.

    Returns:
        Stored bytes, and numbers of tokens and rows.

    Raises:
        UserError: for hidden states that exceed half precision, for logits that are not a plain layer of hidden states,
            and for a set without training rows.
    """
    teaching, name, compute = spec.teaching, spec.set, spec.compute
    found = rows(inputs[data(name)], name, "train", spec.packing.sequence)
    separator = result_of(inputs[TOKENIZER])["separator_id"]
    model = teachers.opened(inputs[STATE], inputs.get(BASE), compute.device)
    loss = TokenLoss(model, separator, spec.packing.boundaries, compute.attention)
    if teaching.mode == "cache_hidden" and not loss.splits:
        raise UserError("mode: cache_hidden needs logits that are a plain layer of hidden states; use cache_sampled")
    if not len(found):
        raise UserError(f"source {name!r}: has no training rows; give it more text or a shorter sequence")
    chosen = _covered(found, spec.positions, None if found.ordered else reading_seed(spec.seed, name))
    torch.manual_seed(spec.seed)
    parts: list[dict[str, Tensor]] = []
    with torch.no_grad(), autocast(compute.device, compute.precision):
        for start in range(0, len(chosen), ROWS):
            context.watcher.progress(start, len(chosen))
            batch = collate((found[row] for row in chosen[start : start + ROWS].tolist()), separator)
            kept = _kept(loss.outputs(batch.to(compute.device)), teaching)
            parts.append({key: value.cpu() for key, value in kept.items()} | {"learned": batch.learned_by_row()})
    arrays = {key: torch.cat([part[key] for part in parts]) for key in parts[0]}
    arrays |= {
        "rows": chosen,
        "starts": torch.cat([torch.zeros(1, dtype=torch.int64), arrays.pop("learned").cumsum(0)]),
    }
    save_file(arrays, context.out / FILE)
    size = sum(array.numel() * array.element_size() for array in arrays.values())
    return {"bytes": size, "tokens": int(arrays["starts"][-1]), "rows": len(chosen)}


def _covered(found: Rows, positions: Sequence[int] | None, seed: int | None) -> Tensor:
    """Numbers of the rows at some positions of a reading order, without duplicates, ascending."""
    start, stop = positions or (0, len(found))
    numbers: Tensor = torch.from_numpy(row_order(len(found), seed, range(start, stop))).unique()
    return numbers


def _kept(outputs: Outputs, teaching: Teaching) -> dict[str, Tensor]:
    """Arrays to store for some learned tokens."""
    if teaching.mode == "cache_hidden":
        hidden = outputs.values.half()
        if not hidden.isfinite().all():
            raise UserError("mode: cache_hidden: hidden states exceed half precision; use cache_sampled")
        return {"hidden": hidden}
    whole, parts = distillation.Model(outputs), []
    for start in range(0, len(outputs.targets), outputs.chunk):
        part = slice(start, start + outputs.chunk)
        log_p = whole.says(part, teaching.temperature).log_p
        count = min(teaching.count, log_p.shape[-1])
        parts.append(distillation.sample(log_p, outputs.targets[part], count, teaching.mode == "cache_top_k"))
    found = Sampled(*(torch.cat(values) for values in zip(*parts, strict=True)))._asdict()
    if teaching.mode == "cache_sampled":
        del found["weights"]  # all are 1 / K
    return {key: value.to(torch.int32) if value.dtype == torch.int64 else value for key, value in found.items()}
