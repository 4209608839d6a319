"""LwF beside the formulas of Avalanche, Mammoth and its authors: values, gradients and constant factors."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cl.data.batches import Batch
from cl.methods.method import MicroBatch
from cl.models.losses import Outputs, fused
from strategies.distillation.lwf import LwF
from strategies.distillation.self_distillation import SelfDistillation

TOKENS, CLASSES = 5, 7


class Logits(nn.Module):
    """Tokens whose logits are the parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.z = nn.Parameter(2 * torch.randn(TOKENS, CLASSES, generator=torch.Generator().manual_seed(0)))


def ours(weight: float, temperature: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Our term (mean over tokens), its gradient by the logits, and the logits of student and teacher."""
    model, method = Logits(), LwF(weight, temperature)
    old = model.z.detach().clone()
    method.prepare(model, 2)
    model.z.data += torch.randn(TOKENS, CLASSES, generator=torch.Generator().manual_seed(1))
    targets = torch.arange(TOKENS)
    batch = MicroBatch(
        model, Batch(torch.zeros(1, TOKENS + 1, dtype=torch.int64), None), 0, Outputs(model.z, None, targets),
        lambda values: Outputs(values["z"], None, targets),
    )  # fmt: skip
    terms = method.token_terms(batch)
    total, each = fused(batch.outputs, list(terms.values()))
    slope = (
        torch.autograd.grad(total, model.z)[0]
        - torch.autograd.grad(F.cross_entropy(model.z, targets, reduction="sum"), model.z)[0]
    )
    return each[1] / TOKENS, slope / TOKENS, model.z, old


def avalanche(now: Tensor, then: Tensor, alpha: float, temperature: float) -> Tensor:
    p, log_q = (then / temperature).softmax(1), (now / temperature).log_softmax(1)
    return alpha * (p * (p.log() - log_q)).sum(1).mean()


def tempered(p: Tensor, temperature: float) -> Tensor:
    """Probabilities at a temperature, from probabilities."""
    raised = p ** (1 / temperature)
    return raised / raised.sum(1, keepdim=True)


def mammoth(now: Tensor, then: Tensor, alpha: float, temperature: float) -> Tensor:
    p, q = (tempered(z.softmax(1), temperature) for z in (then, now))
    return -alpha * (p * q.log()).sum(1).mean()


def authors(now: Tensor, then: Tensor, temperature: float) -> Tensor:
    """Cross-entropy summed over samples; the target is tempered from probabilities, the student from logits."""
    target = tempered(then.softmax(1), temperature)
    x = (now - now.max(1, keepdim=True).values) / temperature
    return (x.exp().sum(1).log() - (target * x).sum(1)).sum()


@pytest.mark.parametrize("temperature", [2.0, 3.5])
def test_ours_is_t_squared_times_avalanche_s(temperature: float) -> None:
    """ContinualAI/avalanche@eb075be avalanche/training/regularization.py, `_distillation_loss`: the same divergence.

    Ours = T^2 x Avalanche's at equal weights, so 4 x at T = 2: its alpha 1 is our weight 1/4. It distils only units of
    classes seen before; here all are.
    """
    value, slope, now, old = ours(0.7, temperature)
    official = avalanche(now, old, 0.7, temperature)
    torch.testing.assert_close(value, temperature**2 * official.detach())
    torch.testing.assert_close(slope, temperature**2 * torch.autograd.grad(official, now)[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", [2.0, 3.5])
def test_ours_is_t_squared_times_mammoth_s_without_the_teacher_s_entropy(temperature: float) -> None:
    """aimagelab/mammoth@e75a491 models/lwf.py, `modified_kl_div` and `smooth`: cross-entropy of tempered probabilities.

    Gradient: ours = T^2 x Mammoth's, so its alpha 0.5 at T = 2 is our weight 1/8. Values differ by the entropy as well.
    """
    value, slope, now, old = ours(0.5, temperature)
    official = mammoth(now, old, 0.5, temperature)
    torch.testing.assert_close(slope, temperature**2 * torch.autograd.grad(official, now)[0], rtol=1e-4, atol=1e-6)
    p = (old / temperature).softmax(1)
    entropy = -(p * p.log()).sum(1).mean()
    torch.testing.assert_close(value, temperature**2 * (official.detach() - 0.5 * entropy), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("temperature", [2.0, 3.5])
def test_the_gradient_is_t_squared_times_the_authors(temperature: float) -> None:
    """lizhitwo/LearningWithoutForgetting@795176d vl_nnsoftmaxdiff.m, mode 'MI' 'multiclass': (q - p) / T per sample.

    Ours = T^2 x theirs per token. Their sum over samples is scaled elsewhere, in layer options that are not compared.
    """
    _, slope, now, old = ours(1.0, temperature)
    official = torch.autograd.grad(authors(now, old, temperature), now)[0]
    p, q = (old / temperature).softmax(1), (now / temperature).softmax(1)
    torch.testing.assert_close(official, ((q - p) / temperature).detach(), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(slope * TOKENS, temperature**2 * official, rtol=1e-4, atol=1e-6)


def test_plain_self_distillation_is_avalanche_s_lwf_without_the_factor() -> None:
    """ContinualAI/avalanche@eb075be avalanche/training/regularization.py, `_distillation_loss`: no code of Mix-CPT.

    `self_distillation` with `target: plain` has no T^2 unless asked, so its factor to Avalanche's divergence is 1.
    """
    from cl.models import distillation

    _, _, now, old = ours(1.0, 1.0)
    for squared, factor in ((False, 1.0), (True, 4.0)):
        rule = SelfDistillation(0.3, target="plain", temperature=2.0, tau_squared=squared).rule
        targets = torch.arange(TOKENS)
        teacher = distillation.Model(Outputs(old, None, targets))
        outputs = Outputs(now, None, targets)
        found = fused(outputs, [distillation.criterion(rule, teacher, targets)])[1][1] / TOKENS
        torch.testing.assert_close(found, factor * avalanche(now, old, 0.3, 2.0).detach())
