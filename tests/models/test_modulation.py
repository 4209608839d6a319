"""Prefixes of single rows in losses and answers: the same as one prompt for all, and each for its own row."""

from __future__ import annotations

import pytest
import torch

from cl.data.batches import Batch, collate
from cl.data.rows import IGNORE, Row
from cl.models import decoding
from cl.models.forward import TokenLoss
from cl.models.modulation import frozen, scale_of, states_of
from tests.support.training import SEPARATOR, tiny

ROWS = [torch.tensor([0, 5, 6, 7, 8]), torch.tensor([0, 9, 10])]


def batch(rows: list[torch.Tensor]) -> Batch:
    targets = [torch.cat([torch.full_like(row[1:-1], IGNORE), row[-1:]]) for row in rows]
    return collate((Row(row, target) for row, target in zip(rows, targets, strict=True)), SEPARATOR)


@pytest.mark.parametrize("boundaries", [True, False])
def test_each_row_is_read_behind_its_own_prefix(boundaries: bool) -> None:
    torch.manual_seed(0)
    model = frozen(tiny())
    loss = TokenLoss(model, SEPARATOR, boundaries)
    width = model.get_input_embeddings().weight.shape[1]
    prefixes = torch.randn(2, 3, width) * scale_of(model) * 5
    with loss.behind(prefixes):
        together = float(loss.total(batch(ROWS)))
    plain, alone = float(loss.total(batch(ROWS))), 0.0
    for row, prefix in zip(ROWS, prefixes, strict=True):
        embedded = torch.cat([prefix, model.get_input_embeddings()(row[:-1])])[None]
        logits = model(inputs_embeds=embedded).logits[0, -1]
        alone -= float(logits.log_softmax(-1)[row[-1]])
    assert together == pytest.approx(alone, rel=1e-4)
    assert abs(together - plain) > 1e-4
    assert loss.prefix is None


def test_each_question_is_answered_behind_its_own_prefix() -> None:
    torch.manual_seed(0)
    model = frozen(tiny())
    width = model.get_input_embeddings().weight.shape[1]
    prefixes = torch.randn(3, 2, width)
    asked = [torch.tensor([0, 5]), torch.tensor([0, 6, 7, 8]), torch.tensor([0, 9, 3])]
    together = decoding.answers(model, asked, 4, 3, (), SEPARATOR, prefixes)
    alone = [decoding.answers(model, [q], 4, 1, (), SEPARATOR, p)[0] for q, p in zip(asked, prefixes, strict=True)]
    assert together == alone
    same = prefixes[:1].expand(3, -1, -1)
    assert decoding.answers(model, asked, 4, 2, (), SEPARATOR, same) == decoding.answers(
        model, asked, 4, 2, (), SEPARATOR, prefixes[0]
    )


def test_states_do_not_depend_on_padding() -> None:
    model = frozen(tiny())
    states, mask = states_of(model, ROWS)
    assert mask.sum(1).tolist() == [5, 3]
    alone, _ = states_of(model, ROWS[1:])
    assert torch.allclose(states[1, :3], alone[0], atol=1e-5)
    assert not states.requires_grad
