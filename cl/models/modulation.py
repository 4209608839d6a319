"""What a bank of modulations reads of a frozen language model: its last hidden states, the scale of its embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence


def states_of(model: Any, ids: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Last hidden states [B, T, D] of texts in fp32, padded on the right, and which tokens are no padding [B, T].

    Args:
        model: transformers causal language model in evaluation mode.
        ids: token ids [n] of each text.
    """
    padded = pad_sequence(list(ids), batch_first=True).to(model.device)
    mask = pad_sequence([torch.ones_like(row) for row in ids], batch_first=True).to(model.device)
    with torch.no_grad():
        states: Tensor = model.get_decoder()(input_ids=padded, attention_mask=mask, use_cache=False).last_hidden_state
    return states.float(), mask.bool()


def scale_of(model: Any) -> float:
    """Root mean square of the numbers of the token embeddings."""
    weight: Tensor = model.get_input_embeddings().weight
    return float(weight.detach().float().square().mean().sqrt())


def frozen(model: Any) -> Any:
    """The model in evaluation mode, without gradients of its parameters."""
    return model.eval().requires_grad_(False)
