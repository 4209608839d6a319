"""Vectors of texts: the mean of a model's last hidden states over the tokens of a text, of length 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from cl.errors import UserError
from cl.models.pretrained import UNLOADABLE

CONTEXTS = ("max_position_embeddings", "n_positions", "max_seq_len")


def mean_of_tokens(states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
    """Mean state of the tokens whose mask is 1, divided by its length [B, D]; in fp32."""
    weight = mask_BT[..., None].float()
    means = (states_BTD.float() * weight).sum(1) / weight.sum(1)
    return torch.nn.functional.normalize(means, dim=-1)


def vectors(
    model: Any, ids: Sequence[Sequence[int]], batch: int, progress: Callable[[int, int], None] = lambda done, of: None
) -> npt.NDArray[np.float32]:
    """Vectors of texts [n, D], in fp32 and of length 1. Texts are sorted by length and padded on the right.

    Args:
        model: transformers model whose forward pass returns `last_hidden_state`, in evaluation mode.
        ids: token ids of each text, at least one.
        batch: texts per forward pass.
        progress: called with the numbers of encoded and of all texts.
    """
    order = sorted(range(len(ids)), key=lambda place: (len(ids[place]), place))
    found: dict[int, npt.NDArray[np.float32]] = {}
    for start in range(0, len(order), batch):
        progress(start, len(order))
        chosen = order[start : start + batch]
        rows = [torch.tensor(ids[place]) for place in chosen]
        padded = pad_sequence(rows, batch_first=True).to(model.device)
        mask = pad_sequence([torch.ones_like(row) for row in rows], batch_first=True).to(model.device)
        with torch.no_grad():
            states = model(input_ids=padded, attention_mask=mask).last_hidden_state
        found |= dict(zip(chosen, mean_of_tokens(states, mask).cpu().numpy(), strict=True))
    return np.stack([found[place] for place in range(len(ids))])


def longest(model: Any, tokenizer: Any) -> int:
    """Largest number of tokens that an encoder reads, as its configuration and its tokenizer state it."""
    stated = [found for name in CONTEXTS if (found := getattr(model.config.get_text_config(), name, None))]
    return int(min([tokenizer.model_max_length, *stated]))


def open_encoder(folder: str) -> tuple[Any, Any]:
    """The model and the tokenizer of a folder, in fp32 and evaluation mode; nothing in it is executed.

    Raises:
        UserError: if they cannot be loaded, if weights are missing, which transformers would draw at random, and for
            a model with a decoder beside its encoder.
    """
    from transformers import AutoModel, AutoTokenizer

    try:
        load: Any = AutoModel.from_pretrained
        model, about = load(folder, dtype=torch.float32, output_loading_info=True)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except UNLOADABLE as error:
        raise UserError(f"model: cannot load {folder!r}: {' '.join(str(error).split())}") from error
    if missing := sorted(name for name in about["missing_keys"] if not name.startswith("pooler.")):  # which is not read
        raise UserError(f"model: {folder!r}: its files have no weights for {missing[0]}; save the whole model")
    if model.config.is_encoder_decoder:
        raise UserError(f"model: {folder!r} has a decoder beside its encoder; name a model with one of the two")
    return model.eval(), tokenizer
