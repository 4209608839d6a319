"""Cross-entropy: chunked equals plain in value and gradients, and never holds all logits."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch
import torch.nn.functional as F

from cl.models import losses
from cl.models.distillation import Model, Rule, criterion
from cl.models.losses import Outputs, fused, nll

N, D, V = 37, 8, 50


def sample(dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Hidden states [N, D], output weights [V, D] and targets [N]."""
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(N, D, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(V, D, generator=generator).to(dtype).requires_grad_()
    return hidden, weight, torch.randint(V, (N,), generator=generator)


def test_nll_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [0.0, 1.0986122886681098]])  # ln 1, ln 1; ln 1, ln 3
    # ln 2 for two equal logits; -ln(3/4) where the target is three times as likely
    expected = 0.6931471805599453 + 0.2876820724517809
    assert float(nll(logits, torch.tensor([0, 1]))) == pytest.approx(expected, rel=1e-6)


def test_nll_sums_in_fp32_whatever_the_logits_are() -> None:
    logits = torch.randn(300, 7, generator=torch.Generator().manual_seed(0)).bfloat16()
    targets = torch.zeros(300, dtype=torch.int64)
    found = nll(logits, targets)
    assert found.dtype == torch.float32
    assert float(found) == pytest.approx(float(F.cross_entropy(logits.double(), targets, reduction="sum")), rel=1e-6)


@pytest.mark.parametrize("chunk", [1, 5, 36, 37, 1000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_chunked_equals_plain(chunk: int, dtype: torch.dtype) -> None:
    hidden, weight, targets = sample(dtype)
    plain = F.cross_entropy(hidden @ weight.T, targets, reduction="sum")
    expected = torch.autograd.grad(plain, (hidden, weight))
    found = linear_nll(hidden, weight, targets, chunk)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, plain.float())
    for got, wanted in zip(torch.autograd.grad(found, (hidden, weight)), expected, strict=True):
        assert got.dtype == dtype
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("chunk", [5, 37])
def test_chunked_equals_plain_under_bf16_autocast(chunk: int) -> None:
    hidden, weight, targets = sample()
    with torch.autocast("cpu", torch.bfloat16):
        plain = nll(F.linear(hidden, weight), targets)
        found = linear_nll(hidden, weight, targets, chunk)
    expected = torch.autograd.grad(plain, (hidden, weight))
    torch.testing.assert_close(found, plain, rtol=1e-2, atol=0)  # plain rounds each logit to bf16, as chunked does
    for got, wanted in zip(torch.autograd.grad(found, (hidden, weight)), expected, strict=True):
        assert got.dtype == torch.float32
        assert torch.linalg.vector_norm(got - wanted) < 1e-2 * torch.linalg.vector_norm(wanted)


def test_gradients_scale_with_what_comes_from_above() -> None:
    hidden, weight, targets = sample()
    (one,) = torch.autograd.grad(linear_nll(hidden, weight, targets, 5), hidden)
    (third,) = torch.autograd.grad(linear_nll(hidden, weight, targets, 5) / 3, hidden)
    torch.testing.assert_close(third, one / 3)


@pytest.mark.parametrize(("of_hidden", "of_weight"), [(True, False), (False, True), (False, False)])
def test_only_the_gradients_that_are_asked_for(of_hidden: bool, of_weight: bool) -> None:
    hidden, weight, targets = sample()
    wanted = torch.autograd.grad(nll(hidden @ weight.T, targets), (hidden, weight))
    hidden, weight = hidden.detach().requires_grad_(of_hidden), weight.detach().requires_grad_(of_weight)
    found = linear_nll(hidden, weight, targets, 5)
    torch.testing.assert_close(found, nll(hidden @ weight.T, targets))
    assert found.requires_grad == (of_hidden or of_weight)
    if found.requires_grad:
        found.backward()
    for tensor, asked, gradient in ((hidden, of_hidden, wanted[0]), (weight, of_weight, wanted[1])):
        assert (tensor.grad is not None) == asked
        if tensor.grad is not None:
            torch.testing.assert_close(tensor.grad, gradient, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("gradients", [True, False])
def test_nothing_of_the_size_of_all_logits_is_made(gradients: bool) -> None:
    n, d, v, chunk = 512, 8, 2048, 64
    hidden, weight = torch.randn(n, d, requires_grad=True), torch.randn(v, d, requires_grad=True)
    targets = torch.arange(n)
    with (
        torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile,
        nullcontext() if gradients else torch.no_grad(),
    ):
        total = linear_nll(hidden, weight, targets, chunk)
        if gradients:
            total.backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert chunk * v * 4 <= largest < n * v * 4 / 2  # the profiler saw a chunk of logits, and nothing like all


@pytest.mark.parametrize(
    ("vocabulary", "expected"),
    [(8, 2**20), (4096, 2048), (49152, 170), (2**20, 64)],  # 32 MiB / (4 bytes x V), at least 64
)
def test_chunk_size(vocabulary: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "CHUNK_BYTES", 32 * 2**20)
    assert losses.chunk_size(vocabulary) == expected


def linear_nll(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, chunk: int) -> torch.Tensor:
    return fused(Outputs(hidden, weight, targets), [], chunk)[0]


def distillation(student: Outputs, teacher: Outputs, temperature: float) -> torch.Tensor:
    """The divergence alone: what is left of the fused loss without the cross-entropy."""
    rule = Rule(1.0, temperature=temperature, squared=True)
    return fused(student, [criterion(rule, Model(teacher), student.targets)])[0] - losses.total_nll(student)


def student_and_teacher(dtype: torch.dtype = torch.float64) -> tuple[Outputs, Outputs]:
    (hidden, weight, targets), (other, other_weight, _) = sample(dtype), sample(dtype, seed=1)
    return Outputs(hidden, weight, targets), Outputs(other, other_weight, targets)


def test_distillation_by_hand() -> None:
    # p = (3/4, 1/4), q = (1/2, 1/2): 3/4 ln(3/2) + 1/4 ln(1/2)
    teacher = Outputs(torch.tensor([[1.0986122886681098, 0.0]]), None, torch.tensor([0]))
    student = Outputs(torch.zeros(1, 2, requires_grad=True), None, torch.tensor([0]))
    found = distillation(student, teacher, 1.0)
    assert float(found.detach()) == pytest.approx(0.75 * 0.4054651081 - 0.25 * 0.6931471806, rel=1e-6)
    assert torch.autograd.grad(found, student.values)[0].tolist() == [pytest.approx([-0.25, 0.25])]  # q - p


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_distillation_equals_torch_s_divergence_in_value_and_gradient(
    temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, teacher = student_and_teacher()
    log_q, log_p = ((o.logits() / temperature).log_softmax(-1) for o in (student, teacher))
    plain = temperature**2 * F.kl_div(log_q, log_p, reduction="sum", log_target=True)
    assert student.weight is not None
    expected = torch.autograd.grad(plain, (student.values, student.weight), retain_graph=True)
    monkeypatch.setattr(losses, "CHUNK_BYTES", 0)  # chunks of 64 at least, so the rows are doubled to need two
    twice = [Outputs(torch.cat([o.values] * 2), o.weight, torch.cat([o.targets] * 2)) for o in (student, teacher)]
    found = distillation(twice[0], twice[1], temperature) / 2
    assert float(found.detach()) == pytest.approx(float(plain.detach()), rel=1e-5)  # the sum is kept in fp32
    for got, wanted in zip(torch.autograd.grad(found, (student.values, student.weight)), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)
    assert teacher.values.grad is None


def test_nothing_to_distil_from_oneself() -> None:
    student, _ = student_and_teacher()
    rule = Rule(1.0, temperature=2.0)
    assert float(fused(student, [criterion(rule, Model(student), student.targets)])[1][1]) == pytest.approx(0, abs=1e-6)
    found = distillation(student, student, 2.0)
    assert float(torch.autograd.grad(found, student.values)[0].abs().max()) < 1e-6


def test_logits_may_be_given_in_place_of_hidden_states() -> None:
    student, teacher = student_and_teacher()
    bent = [Outputs(o.logits(), None, o.targets) for o in (student, teacher)]
    assert float(distillation(bent[0], bent[1], 1.0).detach()) == pytest.approx(
        float(distillation(student, teacher, 1.0).detach())
    )
    assert float(losses.total_nll(bent[0]).detach()) == pytest.approx(float(losses.total_nll(student).detach()))
