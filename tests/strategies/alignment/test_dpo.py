"""DPO: margins, loss and gradient by hand."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cl.data.batches import Batch
from cl.data.rows import IGNORE
from cl.errors import UserError
from cl.models.losses import Outputs
from strategies.alignment.dpo import DPO, margins
from tests.support.methods import learned_of


def test_beta_0_is_refused() -> None:
    with pytest.raises(UserError, match="beta: 0"):
        DPO("liked", beta=0)


def test_margin_by_hand() -> None:
    nll, reference = torch.tensor([[1.0, 5.0], [4.0, 2.0]]), torch.tensor([[2.0, 4.0], [4.0, 2.0]])
    assert margins(nll, reference, 0.5).tolist() == [1.0, 0.0]  # 0.5 ((2 - 1) - (4 - 5)), and nothing gained


class Words(nn.Module):
    """A model of four words that gives each the same logits everywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.z = nn.Parameter(torch.tensor([0.0, 1.0, 2.0, -1.0]))

    def outputs(self, batch: Batch) -> Outputs:
        assert batch.targets is not None
        targets = batch.targets[batch.targets != IGNORE]
        return Outputs(self.z.expand(len(targets), 4), None, targets)


def pair() -> Batch:
    """The better answer is 1 2, the worse 3."""
    targets = torch.tensor([[IGNORE, 1, 2], [IGNORE, 3, IGNORE]])
    return Batch(torch.zeros(2, 4, dtype=torch.int64), targets, torch.tensor([[0, 7], [0, 7]]))


def loss(method: DPO, model: Words, batch: Batch) -> torch.Tensor:
    """Mean loss of the pairs of a batch, as the learner computes it."""
    objective = method.objective()
    return objective.total(model, model.outputs(batch), batch) / objective.count(batch)


def test_loss_and_gradient_at_the_reference_and_away_from_it() -> None:
    model, method = Words(), DPO("liked", beta=0.5)
    method.survey(learned_of(model, [pair()], outputs=model.outputs))
    at_reference = loss(method, model, pair())
    assert float(at_reference.detach()) == pytest.approx(0.6931471806)
    (gradient,) = torch.autograd.grad(at_reference, model.z)
    log_p = model.z.log_softmax(0)
    (of_pair,) = torch.autograd.grad(log_p[1] + log_p[2] - log_p[3], model.z)
    torch.testing.assert_close(gradient, -0.25 * of_pair)  # -beta / 2
    with torch.no_grad():
        model.z[3] -= 1.0
    moved = model.z.detach().log_softmax(0) - log_p.detach()
    margin = 0.5 * (moved[1] + moved[2] - moved[3])
    away = loss(method, model, pair())
    assert float(away.detach()) == pytest.approx(float(-torch.nn.functional.logsigmoid(margin)))
    assert method.figures() == {"dpo/margin": pytest.approx(float(margin) / 2), "dpo/preferred": 0.5}
    assert method.figures() == {}


def test_the_loss_is_a_sum_over_pairs_which_stay_together() -> None:
    model, method = Words(), DPO("liked")
    other = pair()._replace(origin=torch.tensor([[0, 9], [0, 9]]))
    both = Batch(
        *(None if one is None or two is None else torch.cat([one, two]) for one, two in zip(pair(), other, strict=True))
    )
    method.survey(learned_of(model, [both], outputs=model.outputs))
    objective = method.objective()
    assert (objective.rows, objective.name, objective.learns_from) == (2, "dpo", ("preference",))
    assert [objective.count(batch) for batch in (pair(), both)] == [1, 2]
    parts = sum(objective.total(model, model.outputs(part), part) for part in both.split(objective.rows))
    whole = objective.total(model, model.outputs(both), both)
    torch.testing.assert_close(whole, parts)


def test_each_method_object_has_a_reference_of_its_own() -> None:
    one, other = DPO("liked"), DPO("liked")
    one.survey(learned_of(Words(), [pair()], outputs=Words().outputs))
    assert list(one.preference.reference) == [7]
    assert not other.preference.reference
