"""MagMax by hand."""

from __future__ import annotations

import torch

from strategies.merging.magmax import MagMax, largest


def test_the_largest_change_keeps_its_sign() -> None:
    stacked = torch.tensor([[1.0, -5.0, 0.0, 2.0], [-3.0, 4.0, 0.0, 1.0], [2.0, 1.0, 0.0, -6.0]])
    assert largest(stacked).tolist() == [-3.0, -5.0, 0.0, -6.0]
    assert largest(stacked.view(3, 2, 2)).tolist() == [[-3.0, -5.0], [0.0, -6.0]]


def test_it_is_not_the_largest_value() -> None:
    assert largest(torch.tensor([[1.0], [-2.0]])).tolist() == [-2.0]  # a maximum of values would take 1


def test_of_equal_ones_the_newest_counts() -> None:
    assert largest(torch.tensor([[2.0], [1.0], [-2.0]])).tolist() == [-2.0]


def test_half_of_it_is_added_also_of_a_single_state() -> None:
    one, two = {"a": torch.tensor([4.0, 1.0])}, {"a": torch.tensor([-2.0, 6.0]), "b": torch.tensor([-8.0])}
    assert {name: value.tolist() for name, value in MagMax().merge([one, two]).items()} == {
        "a": [2.0, 3.0],
        "b": [-4.0],
    }
    assert MagMax().merge([one])["a"].tolist() == [2.0, 0.5]
    assert MagMax().merges(1)
