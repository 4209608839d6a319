"""Capabilities of the architecture of a causal language model: the one place that reads them from a model.

Everything that depends on the architecture asks for a `Backbone`: the forward pass, sharding, lengths of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

LOGIT_SCALES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier", "output_multiplier")
"""Attributes of a transformers configuration with which some architectures change logits after the output layer."""


@dataclass(frozen=True)
class Backbone:
    """Capabilities of an architecture.

    Args:
        isolation: how the documents of one row are kept apart: `mask`, by a block-diagonal attention mask and positions
            that restart in each document.
        padding: side on which prompts of a batch are padded for generation.
        splits: whether logits are a plain linear layer of the last hidden states. Then logits can be computed in
            chunks, and a classifier or a cached teacher can stand on the hidden states.
        context: largest number of tokens per row. None: the configuration states none.
        units: names of the classes of modules that are sharded one by one (FSDP).
    """

    isolation: Literal["mask"]
    padding: Literal["left"]
    splits: bool
    context: int | None
    units: frozenset[str]


def of(model: Any) -> Backbone:
    """The backbone of a transformers causal language model, with adapters or without."""
    head = model.get_output_embeddings()
    linear = isinstance(head, nn.Linear) and head.bias is None
    bent = any(getattr(model.config, name, None) for name in LOGIT_SCALES)
    return Backbone(
        isolation="mask",
        padding="left",
        splits=linear and not bent,
        context=getattr(model.config, "max_position_embeddings", None),
        units=frozenset(getattr(model, "_no_split_modules", None) or ()),
    )


def layers(model: nn.Module, found: Backbone) -> list[nn.Module]:
    """The modules of a model that are sharded one by one."""
    return [module for module in model.modules() if type(module).__name__ in found.units]
