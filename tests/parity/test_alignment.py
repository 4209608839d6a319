"""DPO and SFT beside the code of DPO's authors and of TRL, from logits and labels to the loss."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl.data.batches import Batch
from cl.data.rows import IGNORE
from cl.models.losses import Outputs
from strategies.alignment.dpo import DPO
from strategies.alignment.sft import SFT
from tests.support.methods import learned_of

PAIRS, LENGTH, WORDS = 3, 6, 8


class Language(nn.Module):
    """Logits [rows, LENGTH, WORDS] as the parameter: one for each input token."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        shape = (2 * PAIRS, LENGTH, WORDS)
        self.z = nn.Parameter(2 * torch.randn(shape, generator=torch.Generator().manual_seed(seed)))

    def outputs(self, batch: Batch) -> Outputs:
        assert batch.targets is not None
        return Outputs(self.z[batch.targets != IGNORE], None, batch.targets[batch.targets != IGNORE])


def pairs() -> Batch:
    """Pairs of a better and a worse answer, of unequal lengths; questions and padding are not learned."""
    chance = torch.Generator().manual_seed(1)
    ids = torch.randint(WORDS, (2 * PAIRS, LENGTH + 1), generator=chance)
    targets = ids[:, 1:].clone()
    targets[:, :2] = IGNORE
    for row, end in enumerate((6, 4, 3, 6, 5, 5)):
        targets[row, end:] = IGNORE
    numbers = torch.tensor([5, 5, 2, 2, 9, 9])
    return Batch(ids, targets, torch.stack([torch.zeros(2 * PAIRS, dtype=torch.int64), numbers], 1))


def log_probabilities(z: Tensor, targets: Tensor) -> Tensor:
    """Summed log-probability of each row's labels, with -100 ignored."""
    mask = targets != IGNORE
    each = z.log_softmax(-1).gather(2, targets.masked_fill(~mask, 0).unsqueeze(2)).squeeze(2)
    return (each * mask).sum(-1)


def run(beta: float) -> tuple[Tensor, DPO, Language, Tensor, Tensor]:
    """Our mean loss over pairs away from the reference, and the log-probabilities [pairs, 2] of both models."""
    model, batch, method = Language(), pairs(), DPO("liked", beta=beta)
    assert batch.targets is not None
    method.survey(learned_of(model, [batch], outputs=model.outputs))
    reference = log_probabilities(model.z.detach(), batch.targets).view(PAIRS, 2)
    model.z.data += 0.7 * torch.randn(model.z.shape, generator=torch.Generator().manual_seed(2))
    objective = method.objective()
    found = objective.total(model, model.outputs(batch), batch) / objective.count(batch)
    return found, method, model, log_probabilities(model.z, batch.targets).view(PAIRS, 2), reference


@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_the_loss_and_its_gradient_are_those_of_the_authors(beta: float) -> None:
    """eric-mitchell/direct-preference-optimization@f8b8c0f trainers.py, `preference_loss` (label_smoothing 0) and
    `_get_batch_logps` (sums): same. Our `dpo/margin` is the mean of its chosen minus rejected rewards.
    """
    found, method, model, policy, reference = run(beta)
    logits = (policy[:, 0] - policy[:, 1]) - (reference[:, 0] - reference[:, 1])
    official = -F.logsigmoid(beta * logits).mean()
    torch.testing.assert_close(found, official)
    torch.testing.assert_close(
        torch.autograd.grad(found, model.z)[0], torch.autograd.grad(official, model.z, retain_graph=True)[0]
    )
    rewards = (beta * (policy - reference)).detach()
    figures = method.figures()
    assert figures["dpo/margin"] == pytest.approx(float((rewards[:, 0] - rewards[:, 1]).mean()), rel=1e-4)
    assert figures["dpo/preferred"] == pytest.approx(float((rewards[:, 0] > rewards[:, 1]).float().mean()))
    assert len({round(float(value), 3) for value in logits.detach()}) == PAIRS


def test_the_loss_is_trl_s_default() -> None:
    """huggingface/trl@f2cd577 trl/trainer/dpo_trainer.py, `_compute_loss` (loss_type sigmoid, reverse_kl, no ld_alpha),
    dpo_config.py (beta 0.1): same. It puts all better answers before all worse ones, ours pair by pair.
    """
    found, _, _, policy, reference = run(DPO("liked").beta)
    chosen, rejected = (policy - reference).T.flatten().chunk(2)
    official = -F.logsigmoid(0.1 * (chosen - rejected)).mean()
    torch.testing.assert_close(found, official)


def test_supervised_fine_tuning_is_a_mean_over_tokens_as_in_trl_and_not_over_answers_as_in_the_authors_of_dpo() -> None:
    """huggingface/trl@f2cd577 trl/trainer/sft_trainer.py `compute_loss` (the loss of transformers, read as installed,
    5.23 loss/loss_utils.py: a mean over tokens): same.
    eric-mitchell/direct-preference-optimization@f8b8c0f trainers.py, `get_batch_metrics` (sft): mean over answers of
    summed nats, so theirs = ours x mean tokens per answer (within a batch).
    """
    model, batch, objective = Language(), pairs(), SFT("chats").objective()
    assert batch.targets is not None
    found = objective.total(model, model.outputs(batch), batch) / objective.count(batch)
    trl = F.cross_entropy(model.z.flatten(0, 1), batch.targets.flatten(), ignore_index=-100)
    torch.testing.assert_close(found, trl)
    summed = -log_probabilities(model.z, batch.targets).mean()
    torch.testing.assert_close(summed, found * float(batch.learned()) / len(batch.ids))
    assert float(summed.detach()) > 2 * float(found.detach())
