"""The network of `mac_lite`: documents into entries of a bank, and a question with the bank into a prefix.

Shapes: B documents or questions, T tokens, D width of the language model, W inner width, n documents in the bank,
K vectors of an entry, P vectors of a prefix.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


def aggregate(queries_BPW: Tensor, keys_nKW: Tensor, values_nKW: Tensor, top_k: int | None) -> Tensor:
    """Cross-attention of questions over the vectors of a bank [B, P, W].

    Logits are inner products over sqrt(W); the softmax runs over all K vectors of all documents that are read. With
    `top_k`, these are for each question the documents with the largest logit of any of its P queries (top-k aggregation
    as in CMT, arXiv 2412.07393, of which only the abstract was read).

    Args:
        queries_BPW: queries of each question.
        keys_nKW: keys of the bank.
        values_nKW: values of the bank.
        top_k: number of documents that are read. None: all.
    """
    logits = torch.einsum("bpw,nkw->bpnk", queries_BPW, keys_nKW) / math.sqrt(queries_BPW.shape[-1])
    if top_k is not None and top_k < len(keys_nKW):
        best = logits.amax((1, 3)).topk(top_k, dim=1).indices
        left_out = torch.ones(len(logits), len(keys_nKW), dtype=torch.bool, device=logits.device).scatter(
            1, best, False
        )
        logits = logits.masked_fill(left_out[:, None, :, None], -torch.inf)
    weights = logits.flatten(2).softmax(-1).unflatten(2, keys_nKW.shape[:2])
    return torch.einsum("bpnk,nkw->bpw", weights, values_nKW)


class Pool(nn.Module):
    """Vectors that learned queries read from the hidden states of a text [B, count, W].

    Args:
        width: width D of the states.
        inner: width W of the vectors.
        count: number of queries.
    """

    def __init__(self, width: int, inner: int, count: int) -> None:
        super().__init__()
        self.norm, self.key, self.value = nn.LayerNorm(width), nn.Linear(width, inner), nn.Linear(width, inner)
        self.queries = nn.Parameter(torch.randn(count, inner))
        self.refine = nn.Sequential(nn.LayerNorm(inner), nn.Linear(inner, inner), nn.GELU(), nn.Linear(inner, inner))

    def forward(self, states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Read texts; only tokens in the mask are read."""
        states = self.norm(states_BTD)
        logits = torch.einsum("cw,btw->bct", self.queries, self.key(states)) / math.sqrt(self.queries.shape[-1])
        weights = logits.masked_fill(~mask_BT[:, None], -torch.inf).softmax(-1)
        found = weights @ self.value(states)
        pooled: Tensor = found + self.refine(found)
        return pooled


class Bank(nn.Module):
    """Writes entries [B, K, W] and reads prefixes [B, P, D].

    Args:
        width: width D of the language model.
        scale: root mean square of its token embeddings, at which a prefix starts.
        inner: inner width W.
        vectors: vectors K of an entry.
        prefix: vectors P of a prefix.
    """

    def __init__(self, width: int, scale: float, inner: int, vectors: int, prefix: int) -> None:
        super().__init__()
        self.document, self.question = Pool(width, inner, vectors), Pool(width, inner, prefix)
        self.to_query, self.to_key, self.to_value = (nn.Linear(inner, inner) for _ in range(3))
        self.out = nn.Sequential(nn.LayerNorm(inner), nn.Linear(inner, width), nn.LayerNorm(width))
        self.scale = nn.Parameter(torch.tensor(scale))

    def write(self, states_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        """Entries of documents."""
        found: Tensor = self.document(states_BTD, mask_BT)
        return found

    def read(self, states_BTD: Tensor, mask_BT: Tensor, bank: Tensor, top_k: int | None) -> Tensor:
        """Prefixes of questions: their own vectors, and what these read from the bank [n, K, W]."""
        asked = self.question(states_BTD, mask_BT)
        read = aggregate(self.to_query(asked), self.to_key(bank), self.to_value(bank), top_k)
        prefix: Tensor = self.scale * self.out(asked + read)
        return prefix
