"""Aggregation of a bank by hand, and what it must not depend on."""

from __future__ import annotations

import math

import pytest
import torch

from strategies.memory.bank import Bank, aggregate


def test_attention_over_a_bank_by_hand() -> None:
    queries = torch.tensor([[[2.0, 0.0, 0.0, 0.0]]])  # one question, one query; sqrt(W) is 2
    keys = torch.tensor([[[math.log(3), 0, 0, 0]], [[0.0, 0, 0, 0]]])  # two documents with one vector each
    values = torch.tensor([[[8.0, 0, 0, 0]], [[0.0, 4, 0, 0]]])
    assert aggregate(queries, keys, values, None).tolist() == [[pytest.approx([6.0, 1.0, 0.0, 0.0])]]  # 3/4 and 1/4
    assert aggregate(queries, keys, values, 1).tolist() == [[pytest.approx([8.0, 0.0, 0.0, 0.0])]]
    assert torch.equal(aggregate(queries, keys, values, 2), aggregate(queries, keys, values, None))


def filled() -> tuple[Bank, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """A bank of five documents, and two questions."""
    torch.manual_seed(0)
    bank = Bank(12, 0.5, inner=8, vectors=3, prefix=2)
    entries = bank.write(torch.randn(5, 7, 12), torch.ones(5, 7, dtype=torch.bool))
    return bank, entries, (torch.randn(2, 4, 12), torch.ones(2, 4, dtype=torch.bool))


def test_one_document_is_read_directly_whatever_top_k_is() -> None:
    bank, entries, asked = filled()
    alone = bank.read(*asked, entries[:1], None)
    assert torch.equal(bank.read(*asked, entries[:1], 1), alone)
    assert torch.equal(bank.read(*asked, entries[:1], 9), alone)
    # k = 1 in a bank of five is the direct use of the document that suits a question best
    direct = torch.stack([bank.read(*asked, entries[place : place + 1], None) for place in range(5)])
    nearest = bank.read(*asked, entries, 1)
    for question in range(2):
        assert any(torch.allclose(nearest[question], each[question], atol=1e-6) for each in direct)
    assert not torch.allclose(nearest, bank.read(*asked, entries, None))


def test_a_bank_has_no_order_and_no_padding() -> None:
    bank, entries, (states, mask) = filled()
    assert torch.allclose(bank.read(states, mask, entries.flip(0), 3), bank.read(states, mask, entries, 3), atol=1e-6)
    padded = torch.cat([states, torch.full((2, 3, 12), 7.0)], 1)
    longer = torch.cat([mask, torch.zeros(2, 3, dtype=torch.bool)], 1)
    assert torch.allclose(bank.read(padded, longer, entries, None), bank.read(states, mask, entries, None), atol=1e-6)
    prefix = bank.read(states, mask, entries, None)
    assert prefix.shape == (2, 2, 12)
    assert float(prefix.detach().square().mean().sqrt()) == pytest.approx(0.5, rel=1e-2)  # as large as token embeddings
