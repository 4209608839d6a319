"""Distillation with and without the swap: by hand, against explicit swaps and autograd, and sampled without bias."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from cl.models.distillation import Dense, Direction, Model, Rule, Sampled, criterion, divergence, sample
from cl.models.losses import Outputs, fused

DIRECTIONS: tuple[Direction, ...] = ("forward", "reverse")
TEACHER = [2.0, 1.0, 0.0, -1.0]
STUDENT = [1.0, 2.0, 0.5, -0.5]


def found(student: Tensor, teacher: Tensor, gold: Tensor, tau: float = 1.0, **how: Any) -> Any:
    log_q = (student / tau).log_softmax(-1)
    return divergence(log_q, log_q.exp(), Dense((teacher / tau).log_softmax(-1)), gold, **{"swap": True} | how)


def explicit(student: Tensor, teacher: Tensor, gold: Tensor, direction: Direction) -> Tensor:
    """The divergence [n] from a teacher whose logits are really exchanged."""
    swapped, rows, first = teacher.clone(), torch.arange(len(gold)), teacher.argmax(-1)
    swapped[rows, first], swapped[rows, gold] = teacher[rows, gold], teacher[rows, first]
    log_p, log_q = swapped.log_softmax(-1), student.log_softmax(-1)
    if direction == "reverse":
        log_p, log_q = log_q, log_p
    return (log_p.exp() * (log_p - log_q)).sum(-1)


@pytest.mark.parametrize(
    ("student", "gold", "tau", "kl", "swapped"),
    [
        (TEACHER, 2, 1.0, 0.0, 1.1135398823),
        (TEACHER, 2, 2.0, 0.0, 0.2876491366),
        (STUDENT, 2, 1.0, 0.4219152477, 0.7003002183),
        (STUDENT, 2, 2.0, 0.0958989079, 0.1678111920),
        (STUDENT, 0, 1.0, 0.4219152477, 0.4219152477),
    ],
)
def test_values_by_hand(student: list[float], gold: int, tau: float, kl: float, swapped: float) -> None:
    rows = [torch.tensor([values], dtype=torch.float64) for values in (student, TEACHER)]
    of = found(rows[0], rows[1], torch.tensor([gold]), tau)
    assert float(of.kl) == pytest.approx(kl, abs=1e-9)
    assert float(of.kl + of.swap) == pytest.approx(swapped, abs=1e-9)
    assert bool(of.swapped) == (gold != 0)


def test_gradient_with_the_task_loss_by_hand() -> None:
    student, teacher = (torch.tensor([values], dtype=torch.float64) for values in (STUDENT, TEACHER))
    of = found(student, teacher, torch.tensor([2]))
    onehot = torch.tensor([[0.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    total = student.softmax(-1) - onehot + 0.5 * of.slope
    expected = torch.tensor([[0.2862473032, 0.7781008427, -1.1219115137, 0.0575633679]], dtype=torch.float64)
    torch.testing.assert_close(total, expected, rtol=0, atol=1e-9)


def rows_of(count: int = 200, vocabulary: int = 11, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(count, vocabulary, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    return student, teacher, torch.randint(0, vocabulary, (count,), generator=generator)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_closed_form_is_the_explicit_swap_in_value_and_slope(direction: Direction) -> None:
    student, teacher, gold = rows_of()
    student.requires_grad_(True)
    wanted = explicit(student, teacher, gold, direction)
    (slope,) = torch.autograd.grad(wanted.sum(), student)
    of = found(student.detach(), teacher, gold, direction=direction)
    torch.testing.assert_close(of.kl + of.swap, wanted.detach(), rtol=0, atol=1e-12)
    torch.testing.assert_close(of.slope, slope, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("direction", "swap"), list(product(DIRECTIONS, (True, False))))
def test_slopes_pass_gradcheck(direction: Direction, swap: bool) -> None:
    student, teacher, gold = rows_of(3, 5)

    class Term(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, logits: Tensor) -> Any:
            of = found(logits, teacher, gold, swap=swap, direction=direction)
            ctx.save_for_backward(of.slope)
            return (of.kl + of.swap).sum()

        @staticmethod
        def backward(ctx: Any, *scale: Tensor) -> Any:
            return scale[0] * ctx.saved_tensors[0]

    assert gradcheck(Term.apply, student.requires_grad_(True))


def test_at_the_teacher_itself_only_the_swap_is_left() -> None:
    _, teacher, gold = rows_of()
    plain, swapped = found(teacher, teacher, gold, swap=False), found(teacher, teacher, gold)
    p, rows, first = teacher.softmax(-1), torch.arange(len(gold)), teacher.argmax(-1)
    wanted = (p[rows, first] - p[rows, gold]) * (teacher[rows, first] - teacher[rows, gold])
    torch.testing.assert_close(swapped.kl + swapped.swap, wanted, rtol=0, atol=1e-12)
    assert wanted.mean() > 0.1
    assert (wanted[first == gold] == 0).all()
    torch.testing.assert_close(plain.kl + plain.swap, torch.zeros_like(wanted), rtol=0, atol=1e-12)


def test_what_is_kept_of_each_token_is_enough_where_all_is_kept() -> None:
    student, teacher, gold = rows_of()
    log_p, log_q = teacher.log_softmax(-1), student.log_softmax(-1)
    kept = sample(log_p, gold, 11, largest=True)
    of, whole = (divergence(log_q, log_q.exp(), t, gold, swap=True) for t in (kept, Dense(log_p)))
    for mine, theirs in zip(of, whole, strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("largest", [False, True])
def test_the_swap_is_exact_and_sampling_unbiased_and_the_largest_ids_are_not(largest: bool) -> None:
    torch.manual_seed(0)
    student, teacher, gold = rows_of(1, 50)
    log_p, log_q = teacher.log_softmax(-1), student.log_softmax(-1)
    whole = divergence(log_q, log_q.exp(), Dense(log_p), gold, swap=True)
    many = 4000
    kept = sample(log_p.expand(many, -1), gold.expand(many), 4, largest)
    of = divergence(log_q.expand(many, -1), log_q.exp().expand(many, -1), kept, gold.expand(many), swap=True)
    torch.testing.assert_close(of.swap, whole.swap.expand(many))
    error = (of.kl.mean() - whole.kl[0]).abs() / (of.kl.std() / many**0.5 if not largest else 1.0)
    off = (of.slope.mean(0) - whole.slope[0]).abs().max()
    if largest:
        assert error > 0.1
        assert off > 0.02
    else:
        assert error < 4  # standard errors
        assert off < 0.02


def test_a_model_says_the_same_of_a_part_as_of_all() -> None:
    teacher = Model(Outputs(torch.randn(9, 3), torch.randn(7, 3), torch.zeros(9, dtype=torch.int64)))
    whole = teacher.says(slice(None), 2.0).log_p
    torch.testing.assert_close(teacher.says(slice(2, 5), 2.0).log_p, whole[2:5])
    torch.testing.assert_close(teacher.says(torch.tensor([8, 1]), 2.0).log_p, whole[[8, 1]])
    assert isinstance(sample(whole, torch.zeros(9, dtype=torch.int64), 2), Sampled)


def student_and_teacher(n: int, d: int, v: int) -> tuple[Outputs, Model]:
    torch.manual_seed(0)
    gold = torch.randint(0, v, (n,))
    student = Outputs(torch.randn(n, d, requires_grad=True), torch.randn(v, d, requires_grad=True), gold)
    return student, Model(Outputs(torch.randn(n, d), torch.randn(v, d), gold))


def part_of(outputs: Outputs, part: slice) -> Outputs:
    return Outputs(outputs.values[part], outputs.weight, outputs.targets[part])


@pytest.mark.parametrize("where", [None, [0, 5, 6, 40]])
@pytest.mark.parametrize("convex", [False, True])
def test_neither_chunks_nor_micro_batches_change_the_sum_or_its_gradient(convex: bool, where: list[int] | None) -> None:
    student, teacher = student_and_teacher(41, 5, 13)
    rule = Rule(0.4, swap=True, temperature=2.0, squared=True, convex=convex)
    mask = None
    if where is not None:
        mask = torch.zeros(41, dtype=torch.bool)
        mask[where] = True
    term = criterion(rule, teacher, student.targets, mask)
    assert student.weight is not None
    inputs = (student.values, student.weight)
    whole, each = fused(student, [term])
    wanted = torch.autograd.grad(whole, inputs)
    for chunk in (1, 7, 40):
        found, values = fused(student, [term], chunk)
        torch.testing.assert_close(values, each)
        for mine, theirs in zip(torch.autograd.grad(found, inputs), wanted, strict=True):
            torch.testing.assert_close(mine, theirs)
    total = torch.zeros(())
    for part in (slice(0, 17), slice(17, 41)):
        taught = Model(part_of(teacher.outputs, part))
        piece = part_of(student, part)
        total = total + fused(piece, [criterion(rule, taught, piece.targets, None if mask is None else mask[part])])[0]
    torch.testing.assert_close(total, whole)
    for mine, theirs in zip(torch.autograd.grad(total, inputs), wanted, strict=True):
        torch.testing.assert_close(mine, theirs)


def test_nothing_of_the_size_of_all_logits_is_made() -> None:
    n, d, v, chunk = 512, 8, 2048, 64
    student, teacher = student_and_teacher(n, d, v)
    term = criterion(Rule(0.3, swap=True), teacher, student.targets)
    with torch.profiler.profile(profile_memory=True, activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        fused(student, [term], chunk)[0].backward()
    largest = max(event.self_cpu_memory_usage for event in profile.events())
    assert chunk * v * 4 <= largest < n * v * 4 / 2


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_autocast_rounds_nothing_here(direction: Direction) -> None:
    student, teacher, gold = (values.float() if values.is_floating_point() else values for values in rows_of())
    plain = found(student, teacher, gold, direction=direction)
    with torch.autocast("cpu", torch.bfloat16):
        under = found(student, teacher, gold, direction=direction)
        kept = sample(teacher.log_softmax(-1), gold, 3)
    for mine, theirs in zip(under, plain, strict=True):
        torch.testing.assert_close(mine, theirs)
    assert kept.entropy.dtype == torch.float32
