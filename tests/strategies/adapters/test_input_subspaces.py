"""Linear algebra of InfLoRA by hand: tokens, directions, and what is stored of them."""

from __future__ import annotations

import pytest
import torch

from cl.data.batches import Batch
from cl.data.rows import IGNORE
from strategies.adapters.input_subspaces import complement, leading, packed, real_tokens, spectrum, unpacked


def test_tokens_up_to_the_last_learned_one_are_real() -> None:
    ids = torch.zeros(2, 5, dtype=torch.int64)
    targets = torch.tensor([[IGNORE, 7, IGNORE, IGNORE], [IGNORE, 7, IGNORE, 8]])  # a turn in between is not padding
    assert real_tokens(Batch(ids, targets)).tolist() == [[True, True, False, False], [True] * 4]
    assert real_tokens(Batch(ids, None)).tolist() == [[True] * 4] * 2


def test_directions_by_hand() -> None:
    moment = torch.diag(torch.tensor([9.0, 1.0, 5.0, 0.0], dtype=torch.float64))
    energies, directions = spectrum(moment, torch.eye(4, dtype=torch.float64))
    assert energies.tolist() == [9.0, 5.0, 1.0, 0.0]
    assert directions.abs().T.tolist() == torch.eye(4)[[0, 2, 1, 3]].tolist()
    energies, directions = spectrum(moment, torch.eye(4, dtype=torch.float64)[:, 1:])  # the strongest is old
    assert energies.tolist() == [5.0, 1.0, 0.0]
    assert directions.abs().T.tolist() == torch.eye(4)[[2, 1, 3]].tolist()


@pytest.mark.parametrize(
    ("energies", "total", "threshold", "expected"),
    [
        ([8.0, 1.0, 1.0, 0.0], 10.0, 0.8, 1),  # reached, not passed
        ([8.0, 1.0, 1.0, 0.0], 10.0, 0.81, 2),
        ([8.0, 1.0, 1.0, 0.0], 10.0, 1.0, 3),  # all that holds anything
        ([8.0, 1.0, 1.0, 0.0], 10.0, 0.0, 0),
        ([2.0, 1.0], 100.0, 0.95, 0),  # 97 of 100 were protected before
        ([4.0, 2.0], 100.0, 0.97, 1),
        ([], 10.0, 0.9, 0),
    ],
)
def test_as_many_as_it_takes(energies: list[float], total: float, threshold: float, expected: int) -> None:
    found = leading(torch.tensor(energies, dtype=torch.float64), torch.tensor(total, dtype=torch.float64), threshold)
    assert found == expected


@pytest.mark.parametrize(("free", "name"), [(0, "free"), (1, "free"), (3, "free"), (4, "old"), (6, "old")])
def test_the_smaller_of_both_bases_is_stored(free: int, name: str) -> None:
    basis = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).Q
    found, stored = packed(basis[:, :free])
    assert (found, stored.shape[1]) == (name, min(free, 6 - free))
    back = unpacked({f"{found}/m": stored}, "m", torch.empty(6, 6, dtype=torch.float64))
    torch.testing.assert_close(back @ back.T, basis[:, :free] @ basis[:, :free].T)
    torch.testing.assert_close(complement(back).T @ basis[:, :free], torch.zeros(6 - free, free, dtype=torch.float64))
