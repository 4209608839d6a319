"""What architectures can do, read from tiny models of each family that transformers makes from a configuration."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from cl.models import backbone

# Not plain: gemma2 has final_logit_softcapping, cohere a logit_scale, phi a bias.
SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": 50}
FAMILIES: dict[str, tuple[dict[str, Any], bool, int, str]] = {
    "llama": ({"intermediate_size": 24, "max_position_embeddings": 40}, True, 40, "LlamaDecoderLayer"),
    "gpt_neox": ({"intermediate_size": 24, "max_position_embeddings": 41}, True, 41, "GPTNeoXLayer"),
    "gemma2": (
        {"intermediate_size": 24, "max_position_embeddings": 42, "num_key_value_heads": 2, "head_dim": 8},
        False,
        42,
        "Gemma2DecoderLayer",
    ),
    "cohere": ({"intermediate_size": 24, "max_position_embeddings": 43}, False, 43, "CohereDecoderLayer"),
    "phi": ({"intermediate_size": 24, "max_position_embeddings": 44}, False, 44, "PhiDecoderLayer"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_capabilities_of_a_family(family: str) -> None:
    own, splits, context, unit = FAMILIES[family]
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES, **own))
    found = backbone.of(model)
    assert (found.splits, found.context) == (splits, context)
    layers = backbone.layers(model, found)
    assert {type(layer).__name__ for layer in layers} == {unit}
    assert len(layers) == 2
