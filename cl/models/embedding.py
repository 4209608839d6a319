"""Vectors of texts: the mean of a model's last hidden states over the tokens of a text, of length 1."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
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
        UserError: if they cannot be loaded, or are stated to pool in another way than by the mean.
    """
    from transformers import AutoModel, AutoTokenizer

    pooling = Path(folder) / "1_Pooling" / "config.json"  # as sentence-transformers writes it
    if pooling.is_file():
        stated = json.loads(pooling.read_text(encoding="utf-8"))
        wrong = [key for key, value in stated.items() if key.startswith("pooling_mode_") and value is True]
        if wrong not in ([], ["pooling_mode_mean_tokens"]) or stated.get("pooling_mode", "mean") != "mean":
            raise UserError(f"dense.model: {folder!r} pools by {wrong or stated['pooling_mode']}, not by the mean; name another")
    try:
        return AutoModel.from_pretrained(folder, dtype=torch.float32).eval(), AutoTokenizer.from_pretrained(folder)
    except UNLOADABLE as error:
        raise UserError(f"dense.model: cannot load {folder!r}: {' '.join(str(error).split())}") from error
