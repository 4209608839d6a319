"""Outputs and losses of packed rows: documents that cannot see each other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl.data.batches import Batch
from cl.models.forward import TokenLoss
from tests.support.training import SEPARATOR, VOCABULARY, tiny

S = 0  # the separator's id in rows written by hand

A, B = [3, 14, 15, 9, 26, 5, 35], [2, 7, 18, 28, 18, 28]


def logits(model: Any, ids: list[int], boundaries: bool = True) -> torch.Tensor:
    """[T, V] for the inputs of a row whose last target is the separator."""
    loss = TokenLoss(model, S, boundaries)
    with torch.no_grad():
        outputs = loss.compute(Batch(torch.tensor([[*ids, S]]), None))
    assert outputs.weight is not None
    found: torch.Tensor = outputs.values @ outputs.weight.T
    return found


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_a_document_neither_sees_nor_changes_its_neighbour(name: str) -> None:
    model = tiny(name).eval()
    row = logits(model, [S, *A, S, *B])
    alone = torch.cat([logits(model, [S, *A]), logits(model, [S, *B])])
    torch.testing.assert_close(row, alone, rtol=0, atol=1e-6)
    other = logits(model, [S, *[(token + 1) % VOCABULARY for token in A], S, *B])
    assert torch.equal(other[len(A) + 1 :], row[len(A) + 1 :])  # not one bit of B
    assert not torch.allclose(other[: len(A) + 1], row[: len(A) + 1])


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_without_boundaries_a_document_sees_what_came_before(name: str) -> None:
    model = tiny(name).eval()
    row = logits(model, [S, *A, S, *B], boundaries=False)
    other = logits(model, [S, *[(token + 1) % VOCABULARY for token in A], S, *B], boundaries=False)
    assert not torch.allclose(other[len(A) + 1 :], row[len(A) + 1 :])


def test_loss_of_a_row_is_that_of_its_documents_alone() -> None:
    loss = TokenLoss(tiny().eval(), S, boundaries=True)
    with torch.no_grad():
        row, *alone = (
            loss.total(Batch(torch.tensor([ids]), None)) for ids in ([S, *A, S, *B, S], [S, *A, S], [S, *B, S])
        )
    torch.testing.assert_close(row, sum(alone))


def test_an_architecture_that_bends_its_logits_is_not_split() -> None:
    model = tiny()
    assert TokenLoss(model, SEPARATOR, True).splits
    model.config.final_logit_softcapping = 30.0
    assert not TokenLoss(model, SEPARATOR, True).splits
