"""SEQ* beside its authors' code: the classifier, its loss, and which classes are predicted."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl.data.batches import Batch
from cl.data.rows import IGNORE
from cl.models import classifier_head
from cl.models.losses import Outputs
from strategies.classifiers.seq_star import Classifier, SeqStar
from tests.support.methods import learned_of

WIDTH = 6


class Model(nn.Module):
    """A backbone without weights, with an output layer for hidden states of width 6."""

    device = torch.device("cpu")

    def __init__(self) -> None:
        super().__init__()
        self.output = nn.Linear(WIDTH, 10, bias=False)

    def get_output_embeddings(self) -> nn.Linear:
        return self.output


def rows(*answers: int) -> Batch:
    """A row for each answer of one token: question 1 2, answer, end of turn 9."""
    ids = torch.tensor([[1, 2, answer, 9] for answer in answers])
    return Batch(ids, torch.tensor([[IGNORE, answer, 9] for answer in answers]))


def taught(**settings: Any) -> Model:
    """A model at the start of its second task: classes 3, 4 of the first, 5, 6, 7 of the second."""
    torch.manual_seed(0)
    model, method = Model(), SeqStar(warmup=0.0, **settings)
    for t, answers in enumerate(((3, 4), (5, 6, 7)), 1):
        method.survey(learned_of(model, [rows(*answers)], t=t))
    return model


def head_of(model: Model) -> classifier_head.Head:
    head = classifier_head.of(model)
    assert head is not None
    return head


def hidden(batch: Batch) -> tuple[Outputs, Tensor]:
    """Outputs at the learned tokens, and the hidden state of each question's last token."""
    states = torch.randn(2 * len(batch.ids), WIDTH, generator=torch.Generator().manual_seed(1))
    assert batch.targets is not None
    return Outputs(states, torch.zeros(10, WIDTH), batch.targets[batch.targets != IGNORE]), states[::2]


def official_logits(model: Model, features: Tensor, cosine: bool) -> Tensor:
    """A classifier per task, whose logits are put side by side."""
    parts = []
    for weight in head_of(model).blocks.values():
        if cosine:
            weight, features = weight / weight.norm(dim=1, keepdim=True), features / features.norm(dim=1, keepdim=True)
        parts.append(features @ weight.T)
    return torch.cat(parts, -1)


@pytest.mark.parametrize("cosine", [True, False])
@pytest.mark.parametrize("preallocate", [None, 8])
def test_the_loss_is_the_code_s(cosine: bool, preallocate: int | None) -> None:
    """zzz47zzz/codebase-for-incremental-learning-with-llm@cc2bf9d utils/classifier.py `CosineLinear`, models/SEQ.py
    `observe_batch` (CIL; `SEQ_preallocated_classifier`): same mean cross-entropy over all logits, no temperature.

    Its `Linear` has a bias, ours (`cosine` false) has none: equal where that bias is 0.
    """
    model = taught(cosine=cosine, preallocate=preallocate)
    batch = rows(5, 7, 3, 6)
    outputs, features = hidden(batch)
    logits = official_logits(model, features, cosine)
    assert logits.shape == (4, preallocate or 5)
    official = F.cross_entropy(logits, torch.tensor([2, 4, 0, 3]))
    objective = Classifier()
    torch.testing.assert_close(objective.total(model, outputs, batch) / objective.count(batch), official)


@pytest.mark.parametrize("preallocate", [None, 8])
def test_the_prediction_is_over_the_classes_so_far(preallocate: int | None) -> None:
    """zzz47zzz/codebase-for-incremental-learning-with-llm@cc2bf9d utils/evaluation.py,
    `evaluate_sent_level_acc_with_classifier` (CIL): the largest logit of the tasks so far, with P as well. Same.
    """
    model = taught(cosine=True, preallocate=preallocate)
    features = torch.randn(40, WIDTH, generator=torch.Generator().manual_seed(2))
    best = official_logits(model, features, cosine=True)[:, :5].argmax(-1).tolist()
    assert head_of(model).answers(features) == [[place + 3] for place in best]
    assert len(set(best)) > 2


@pytest.mark.parametrize("fix_old", [True, False])
def test_the_frozen_classes_are_the_code_s(fix_old: bool) -> None:
    """zzz47zzz/codebase-for-incremental-learning-with-llm@cc2bf9d models/SEQ.py, `begin_task`: with
    `SEQ_fix_old_classifier` the older tasks' weights have learning rate 0. Ours: they take no gradient.

    Fresh weights are uniform in +-1 / sqrt(width), as in its utils/classifier.py `reset_parameters`.
    """
    head = head_of(taught(fix_old=fix_old))
    assert [block.requires_grad for block in head.blocks.values()] == [not fix_old, True]
    torch.manual_seed(0)
    drawn = classifier_head.draw(500, WIDTH).detach()
    assert 0.98 < float(drawn.abs().max()) * WIDTH**0.5 <= 1
    assert float(drawn.var()) * WIDTH == pytest.approx(1 / 3, rel=0.1)
