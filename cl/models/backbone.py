"""Capabilities of the architecture of a causal language model: the one place that reads them from a model.

Everything that depends on the architecture asks for a `Backbone`: the forward pass, generation, sharding, lengths of
rows. `tests/models/test_families.py` checks the answers for each family that transformers makes from a configuration.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from cl.errors import UserError
from cl.models.pretrained import Outline

LOGIT_SCALES = (
    "final_logit_softcapping",
    "logits_soft_cap",
    "output_logit_soft_cap",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
    "logits_mup_width_multiplier",
    "output_multiplier",
)
"""Attributes of a transformers configuration with which some architectures change logits after the output layer."""

CONTEXTS = ("max_position_embeddings", "max_seq_len", "n_positions")
"""Attributes of a transformers configuration that state the largest number of tokens per row."""

WINDOWS = ("sliding_window", "attention_chunk_size", "window_size")
"""Attributes of a transformers configuration that state how many columns back a token reads in some layers."""

RESTARTING = frozenset(
    """
    apertus arcee aria_text bitnet codegen cohere cohere2 cwm dbrx deepseek_v2 deepseek_v3 diffllama dots1 ernie4_5
    ernie4_5_moe exaone4 flex_olmo gemma gemma2 gemma3_text gemma4_text glm glm4 glm4_moe gpt2 gpt_bigcode gpt_neo
    gpt_neox gptj granite granitemoe granitemoeshared helium hunyuan_v1_dense hunyuan_v1_moe jais2 jetmoe llama
    llama4_text minimax_m2 ministral ministral3 mistral mixtral nanochat nemotron olmo olmo2 olmo3 olmoe persimmon
    phi phi3 phimoe qwen2 qwen2_moe qwen3 qwen3_moe seed_oss smollm3 solar_open stablelm starcoder2 vaultgemma
    """.split()  # noqa: SIM905
)
"""Families that consist of attention with the masks of transformers. These masks keep apart documents whose positions
restart, and keep windows and chunks. Layers of other families carry a state from token to token, use positions that
restart in another way, or are not known here."""

UNCACHED = frozenset(("minimax", "xlstm"))
"""Families whose generation with a cache is not their forward pass in transformers 5.23."""


@dataclass(frozen=True)
class Backbone:
    """Capabilities of an architecture.

    Args:
        isolation: how the documents of one row are kept apart: `positions`, which restart in each document and from
            which transformers makes the masks of all layers; `documents`, each document is read as a row of its own.
        padding: side on which prompts of a batch are padded for generation; `none`: prompts of one length only.
        caches: whether generation may keep keys, values and states of earlier tokens.
        splits: whether logits are a plain linear layer of the last hidden states. Then logits can be computed in
            chunks, and a classifier or a cached teacher can stand on the hidden states.
        context: largest number of tokens per row. None: the configuration states none.
        units: names of the classes of modules that are sharded one by one (FSDP).
        window: number of columns, padding included, that a token reads in some layers. None: all.
    """

    isolation: Literal["positions", "documents"]
    padding: Literal["left", "none"]
    caches: bool
    splits: bool
    context: int | None
    units: frozenset[str]
    window: int | None


def of(model: Any) -> Backbone:
    """The backbone of a transformers causal language model, with adapters or without."""
    config = model.config.get_text_config()
    restarting = config.model_type in RESTARTING and type(model.config).__module__.startswith("transformers.")
    return Backbone(
        isolation="positions" if restarting else "documents",
        padding="left" if restarting else "none",
        caches=config.model_type not in UNCACHED,
        splits=_splits(model, config),
        context=next((int(found) for name in CONTEXTS if (found := getattr(config, name, None))), None),
        units=frozenset(getattr(model, "_no_split_modules", None) or _blocks(model)),
        window=min((int(found) for name in WINDOWS if (found := getattr(config, name, None))), default=None),
    )


def _blocks(model: Any) -> set[str]:
    """Names of the classes of the decoder's layers, for families that name none."""
    lists: list[Any] = [module for module in model.get_decoder().children() if isinstance(module, nn.ModuleList)]
    return {type(block).__name__ for block in max(lists, key=len, default=())}


def _splits(model: Any, config: Any) -> bool:
    """Whether logits are a plain linear layer of the decoder's last hidden states."""
    head, decoder = model.get_output_embeddings(), model.get_decoder()
    linear = isinstance(head, nn.Linear) and head.bias is None
    apart = all(module is not head for module in decoder.modules())
    return linear and apart and not any(getattr(config, name, None) for name in LOGIT_SCALES)


def check_splits(outline: Outline, who: str) -> None:
    """Check, while planning, that a model's logits are a plain layer of its hidden states.

    Args:
        outline: the model without weights.
        who: the method that stands on hidden states, for the message.

    Raises:
        UserError: if the architecture changes its logits.
    """
    if not of(outline.model).splits:
        family = outline.model.config.model_type
        raise UserError(f"{family} changes its logits after the output layer, and {who}; use another method")


def layers(model: nn.Module, found: Backbone) -> list[nn.Module]:
    """The modules of a model that are sharded one by one."""
    return [module for module in model.modules() if type(module).__name__ in found.units]
