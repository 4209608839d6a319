"""Attention inside the documents of a row: what computes it, chosen by `train.attention`.

Documents are told apart by positions that restart, and transformers makes the mask of each layer from them, windows and
chunks included. The mask reaches the layer in the form of its kernel:

* `sdpa`: a dense mask [B, 1, T, T], computed in full;
* `varlen`: a list of blocks (`Blocks`), each attended to by itself, so T tokens in documents of L cost T·L and no T·T
  tensor exists;
* `flex`: a block-sparse mask of torch's FlexAttention;
* `flash`: lengths of documents, for FlashAttention; the rows of a batch are one row (`cl.models.forward`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor

from cl.errors import UserError
from cl.models import backbone

Kernel = Literal["varlen", "flex", "flash"]
NAMES: dict[Kernel, str] = {"varlen": "cl_varlen", "flex": "flex_attention", "flash": "flash_attention_2"}
"""Names of the kernels in transformers; `sdpa` is what transformers chooses without being asked."""


class Blocks(NamedTuple):
    """Blocks of tokens that see no token of another block, in the order of the rows.

    Args:
        lengths: tokens of each block; they sum to B*T.
        masks: whether each token of a block sees each other [L, L]; None: all that are not behind it.
    """

    lengths: list[int]
    masks: list[Tensor | None]


ROW_LENGTH = frozenset(("gpt_neo", "phimoe"))
"""Families that read the length of a row, so a batch as one row is another input (tests/models/test_attention.py)."""


def use(model: Any, kernel: Kernel) -> None:
    """Let a kernel compute the attention of a model.

    Args:
        model: transformers or peft model, which may be without weights.
        kernel: the kernel.

    Raises:
        UserError: if the model or the machine does not have it.
    """
    from transformers import AttentionInterface, AttentionMaskInterface

    # not compiled: the blocks differ from batch to batch
    AttentionInterface.register(NAMES["varlen"], torch.compiler.disable(_attend))
    AttentionMaskInterface.register(NAMES["varlen"], torch.compiler.disable(_blocks))
    text = model.config.get_text_config()
    family, before = text.model_type, text._attn_implementation
    if before == NAMES[kernel]:
        return
    if backbone.of(model).isolation == "documents":
        raise UserError(f"train.attention: {kernel}: {family} reads each document as a row of its own; use auto")
    has = {
        "varlen": before == "sdpa",
        "flex": getattr(model, "_supports_flex_attn", False),
        "flash": getattr(model, "_supports_flash_attn", False) and family not in ROW_LENGTH,
    }
    try:
        if has[kernel]:
            model.set_attn_implementation(NAMES[kernel])
    except (ValueError, ImportError) as error:
        raise UserError(f"train.attention: {kernel}: {' '.join(str(error).split())[:160]}; use auto") from error
    if text._attn_implementation != NAMES[kernel]:  # some families only warn
        raise UserError(f"train.attention: {kernel}: {family} does not compute its attention with it; use auto")


def joins(model: Any, kernel: Kernel | None) -> bool:
    """Whether all examples may be one row: the kernel computes nothing between them, and no layer reads the length."""
    return kernel in ("varlen", "flash") and model.config.get_text_config().model_type not in ROW_LENGTH


def document_lengths(positions: Tensor) -> dict[str, Any]:
    """Lengths of the documents of one row, as transformers hands them to FlashAttention.

    Args:
        positions: position of each token in its document [T].
    """
    edges = torch.cat([(positions == 0).nonzero().flatten(), positions.new_tensor([len(positions)])]).int()
    longest = int(torch.diff(edges).max())
    return {"cu_seq_lens_q": edges, "cu_seq_lens_k": edges, "max_length_q": longest, "max_length_k": longest}


def _blocks(
    batch_size: int,
    q_length: int,
    kv_length: int,
    q_offset: Any = 0,
    kv_offset: int = 0,
    mask_function: Callable[..., Any] | None = None,
    attention_mask: Tensor | None = None,
    use_vmap: bool = False,
    device: Any = "cpu",
    **options: Any,
) -> Blocks | Tensor | None:
    """The mask of a layer as blocks; a dense mask or none where keys are cached or padded, or a model adds to the mask.

    Arguments are those of a mask function of transformers. A token that does not see the token before it begins a
    block: masks of restarting positions, windows and chunks have no other gaps.
    """
    from transformers.masking_utils import causal_mask_function, sdpa_mask

    sees: Callable[..., Any] = mask_function or causal_mask_function
    cached = q_length != kv_length or not isinstance(q_offset, int) or q_offset or kv_offset
    if cached or attention_mask is not None or use_vmap:
        found: Tensor | None = sdpa_mask(
            batch_size, q_length, kv_length, q_offset, kv_offset, sees, attention_mask,
            use_vmap=use_vmap, device=device, **options,
        )  # fmt: skip
        return found
    rows, index = torch.arange(batch_size, device=device), torch.arange(q_length, device=device)
    begins = torch.ones(batch_size, q_length, dtype=torch.bool, device=device)
    begins[:, 1:] = ~sees(rows[:, None], 0, index[None, 1:], index[None, :-1])
    edges = begins.flatten().nonzero().flatten()
    lengths = torch.diff(edges, append=edges.new_tensor([begins.numel()]))
    row, first = edges // q_length, edges % q_length
    whole = sees(row, 0, first + lengths - 1, first).tolist()  # no window cuts the last token from the first
    masks: list[Tensor | None] = [
        None if all_of else sees(row[at], 0, index[start : start + length, None], index[None, start : start + length])
        for at, (all_of, start, length) in enumerate(zip(whole, first.tolist(), lengths.tolist(), strict=True))
    ]
    return Blocks(lengths.tolist(), masks)


def _attend(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Blocks | Tensor | None, **options: Any
) -> tuple[Tensor, None]:
    """SDPA of each block; arguments and result [B, T, H, D] are those of an attention function of transformers."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if not isinstance(attention_mask, Blocks):
        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    lengths, masks = attention_mask
    # `split` and not slices, whose backward passes would each fill a tensor of all tokens
    queries, keys, values = (each.transpose(1, 2).flatten(0, 1).split(lengths) for each in (query, key, value))
    found = []
    for q, k, v, mask in zip(queries, keys, values, masks, strict=True):
        q, k, v = (each.transpose(0, 1)[None] for each in (q, k, v))  # [1, H, L, D]
        found.append(sdpa_attention_forward(module, q, k, v, mask, **options)[0][0])
    return torch.cat(found).unflatten(0, (len(query), -1)), None
