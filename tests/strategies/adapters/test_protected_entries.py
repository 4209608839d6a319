"""RegLoRA's mathematics: the penalty by hand, its sparse form against the dense one, and masks as bits."""

from __future__ import annotations

import pytest
import torch

from strategies.adapters.protected_entries import Protected, key_elements, pack, penalty, unpack


def test_key_elements_by_hand() -> None:
    update = torch.tensor([[1.0, -5.0, 2.0, 0.0], [3.0, 0.5, -4.0, 1.0], [0.0, 0.0, 0.0, 6.0]])
    # int(0.25 * 12) = 3: 6, -5, -4
    assert key_elements(update, 0.25).nonzero().tolist() == [[0, 1], [1, 2], [2, 3]]
    assert int(key_elements(update, 0.3).sum()) == 3  # int(3.6)
    assert not key_elements(update, 0.05).any()  # int(0.6) = 0
    assert key_elements(update, 1.0).all()


def test_of_equal_entries_the_first_is_kept() -> None:
    assert key_elements(torch.ones(2, 3), 0.34).tolist() == [[True, True, False], [False, False, False]]


def test_penalty_by_hand() -> None:
    update = torch.tensor([[1.0, -2.0], [3.0, -4.0]])
    once = torch.tensor([[1, 1], [0, 0]])
    assert float(penalty(update, once)) == 1.5  # (1 + 2) / 2
    assert float(penalty(update, 2 * once)) == 1.5  # two tasks that protect the same: one copy
    assert float(penalty(update, torch.tensor([[2, 1], [0, 0]]))) == pytest.approx(4 / 3)  # shared ones weigh double
    assert float(penalty(update, torch.zeros(2, 2))) == 0.0  # not NaN


def modules() -> tuple[list[torch.Tensor], list[torch.Tensor], list[torch.Tensor]]:
    chance = torch.Generator().manual_seed(0)
    shapes = [(3, 4), (5, 2), (4, 4)]
    b = [torch.randn(out, 2, generator=chance, dtype=torch.float64, requires_grad=True) for out, _ in shapes]
    a = [torch.randn(2, wide, generator=chance, dtype=torch.float64, requires_grad=True) for _, wide in shapes]
    counts = [torch.randint(0, 3, shape, generator=chance, dtype=torch.uint8) for shape in shapes]
    return a, b, counts


def test_only_protected_entries_are_computed_and_nothing_else_changes() -> None:
    a, b, counts = modules()
    dense = torch.stack([penalty(y @ x, c) for x, y, c in zip(a, b, counts, strict=True)]).mean()
    expected = torch.autograd.grad(dense, [*a, *b])
    protected = Protected(counts, torch.device("cpu"))
    protected.weights = protected.weights.double()
    sparse = protected(torch.cat(b), torch.cat([x.T for x in a]))
    torch.testing.assert_close(sparse, dense, rtol=1e-6, atol=0)
    for found, wanted in zip(torch.autograd.grad(sparse, [*a, *b]), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-9)


def test_a_fresh_adapter_is_neither_penalised_nor_pulled() -> None:
    a, b, counts = modules()
    b = [torch.zeros_like(each, requires_grad=True) for each in b]
    protected = Protected(counts, torch.device("cpu"))
    protected.weights = protected.weights.double()
    value = protected(torch.cat(b), torch.cat([x.T for x in a]))
    assert float(value.detach()) == 0.0
    assert all(float(gradient.abs().sum()) == 0 for gradient in torch.autograd.grad(value, [*a, *b]))


def test_a_module_without_protected_entries_still_counts_as_one() -> None:
    a, b, counts = modules()
    counts[1].zero_()
    dense = torch.stack([penalty(y @ x, c) for x, y, c in zip(a, b, counts, strict=True)]).mean()
    protected = Protected(counts, torch.device("cpu"))
    protected.weights = protected.weights.double()
    torch.testing.assert_close(protected(torch.cat(b), torch.cat([x.T for x in a])), dense, rtol=1e-6, atol=0)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 8), (7, 9)])
def test_masks_are_stored_as_bits(shape: tuple[int, int]) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.3
    bits = pack(mask)
    assert bits.dtype == torch.uint8
    assert bits.numel() == -(-mask.numel() // 8)
    assert torch.equal(unpack(bits, shape), mask)
