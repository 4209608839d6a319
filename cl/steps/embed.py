"""Compute an embed node: a vector of each text of a set's split, which dense retrieval compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from safetensors.numpy import save_file

from cl.data import tokenization
from cl.graph.roles import BASE, STATE, TOKENIZER, Inputs, data
from cl.methods.retrieves import stored
from cl.models import adapters, embedding, pretrained
from cl.models.forward import autocast

if TYPE_CHECKING:
    from cl.graph.measurement_specs import EmbedSpec
    from cl.steps.context import Context


def run(spec: EmbedSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Encode the texts of a split as the tokenizer's own call encodes a text, cut off where the model's context ends.

    Returns:
        Number and width of the vectors, and number of texts that were cut off; `vectors.safetensors` holds them.
    """
    if spec.split == "train":
        found = stored(tokenization.memorable(inputs[data(spec.set)]), spec.budget)
        texts = [text for one in found for text in tokenization.as_text(one)]
    else:
        texts = [example.text for example in tokenization.examples(inputs[data(spec.set)], spec.split)]
    if spec.encoder is None:
        whole = adapters.load(inputs[STATE], inputs.get(BASE))
        model, tokenizer = whole.get_decoder(), pretrained.stored_tokenizer(inputs[TOKENIZER])
    else:
        assert context.local is not None
        model, tokenizer = embedding.open_encoder(context.local.model.name)
    model = model.to(spec.compute.device).eval()
    limit = embedding.longest(model, tokenizer)
    ids = [tokenizer(text, verbose=False)["input_ids"] for text in texts]
    with autocast(spec.compute.device, spec.compute.precision):
        made = embedding.vectors(model, [each[:limit] for each in ids], spec.batch, context.watcher.progress)
    save_file({"vectors": made}, context.out / "vectors.safetensors")
    return {"texts": len(made), "width": made.shape[1], "cut": sum(len(each) > limit for each in ids)}
