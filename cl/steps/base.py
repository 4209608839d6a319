"""Compute a base node: the model before any training."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cl.errors import UserError
from cl.graph.roles import TOKENIZER
from cl.graph.stored import result_of
from cl.models import backbone, pretrained, quantized, vocabulary
from cl.models.forward import evaluating
from cl.models.pretrained import create, save

if TYPE_CHECKING:
    from pathlib import Path

    from cl.config.model import Model
    from cl.graph.roles import Inputs
    from cl.graph.specs import BaseSpec
    from cl.steps.context import Context


def run(spec: BaseSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Store the model before any training, with its tokenizer.

    Returns:
        Number of parameters.

    Raises:
        UserError: if a row is longer than the model's context, or the model reads later tokens.
    """
    assert context.local is not None
    tokenizer = result_of(inputs[TOKENIZER])
    model = context.local.model
    created = create(model, tokenizer["vocabulary"], tokenizer["separator_id"], spec.seed, spec.sequence)
    _extend(created, spec, inputs[TOKENIZER], model)
    limit = backbone.of(created).context
    if limit is not None and spec.sequence > limit:
        raise UserError(f"train.sequence: {spec.sequence} is longer than the model's context of {limit} tokens")
    _check_causal(created, spec.sequence)
    if spec.weights is not None:
        quantized.round_(created, spec.weights)
    save(created, context.out)
    for file in inputs[TOKENIZER].glob("tokenizer*"):
        shutil.copy(file, context.out / file.name)
    return {"parameters": sum(p.numel() for p in created.parameters())}


def _extend(created: Any, spec: BaseSpec, folder: Path, model: Model) -> None:
    """Give a pretrained model embeddings for the tokens of a tokenizer that extends its own.

    Raises:
        UserError: if the tokenizer has more tokens than the model, and does not extend the model's own.
    """
    asked = model.add_tokens is not None
    if pretrained.origin(model.name) == "fresh":
        return
    tokens, known = result_of(folder)["vocabulary"], created.config.get_text_config().vocab_size
    if not asked and tokens <= known:
        return
    if not asked and model.tokenizer is None:
        raise UserError(
            f"model.name: its tokenizer has {tokens} tokens, more than the model's {known}; use another one"
        )
    own = pretrained.load_tokenizer(replace(model, tokenizer=None))
    vocabulary.extend(created, own, pretrained.stored_tokenizer(folder), spec.new or "pieces")


def _check_causal(model: Any, sequence: int) -> None:
    """Raises UserError if a token's prediction depends on the token after it, as in an encoder."""
    import torch

    ids = torch.arange(min(8, sequence))[None] % model.config.get_text_config().vocab_size
    other = ids.clone()
    other[0, -1] = 0
    with torch.no_grad(), evaluating(model):
        first, second = (model(input_ids=each, use_cache=False).logits[0, :-1] for each in (ids, other))
    if not torch.allclose(first, second, rtol=1e-4, atol=1e-4 * float(first.std() if first.numel() else 0)):
        kind = type(model).__name__
        raise UserError(f"model.name: {kind} predicts a token from later ones; name a causal model (is_decoder: true)")
