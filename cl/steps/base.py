"""Compute a base node: the model before any training."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from cl.errors import UserError
from cl.graph.roles import TOKENIZER
from cl.graph.stored import result_of
from cl.models import backbone
from cl.models.pretrained import create, save

if TYPE_CHECKING:
    from cl.graph.roles import Inputs
    from cl.graph.specs import BaseSpec
    from cl.steps.context import Context


def run(spec: BaseSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Store the model before any training, with its tokenizer.

    Returns:
        Number of parameters.

    Raises:
        UserError: if a row is longer than the model's context.
    """
    assert context.local is not None
    tokenizer = result_of(inputs[TOKENIZER])
    model = context.local.model
    created = create(model, tokenizer["vocabulary"], tokenizer["separator_id"], spec.seed, spec.sequence)
    limit = backbone.of(created).context
    if limit is not None and spec.sequence > limit:
        raise UserError(f"train.sequence: {spec.sequence} is longer than the model's context of {limit} tokens")
    save(created, context.out)
    for file in inputs[TOKENIZER].glob("tokenizer*"):
        shutil.copy(file, context.out / file.name)
    return {"parameters": sum(p.numel() for p in created.parameters())}
