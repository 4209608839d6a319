"""TIES by hand: trim, elect, mean."""

from __future__ import annotations

import pytest
import torch

from cl.errors import UserError
from strategies.merging.ties import TIES, elected_mean, smallest_kept


@pytest.mark.parametrize(
    ("size", "keep", "expected"),
    [
        (5, 0.2, 9.0),  # 1 of 5
        (5, 0.59, 5.0),  # int(2.95) = 2
        (5, 1.0, 0.0),  # all
        (5, 0.01, 9.0),  # at least one
        (10, 0.5, 0.0),  # the five entries that it lacks are 0, so its own five are the largest half
        (10, 0.4, 2.0),
    ],
)
def test_trimming_ranks_the_whole_vector(size: int, keep: float, expected: float) -> None:
    vector = {"a": torch.tensor([[1.0, -9.0], [3.0, 2.0]]), "b": torch.tensor([-5.0])}
    assert float(smallest_kept(vector, size, keep)) == expected


def test_a_vector_without_entries_keeps_none() -> None:
    assert float(smallest_kept({}, 4, 0.5)) == 0.0


def test_the_sign_is_elected_by_mass_and_only_what_agrees_is_averaged() -> None:
    #                        two against one     mass wins    one alone    they cancel   nothing
    trimmed = torch.tensor([[1.0, 1.0, 4.0, 2.0, 0.0], [3.0, 1.0, 0.0, -2.0, 0.0], [-2.0, -3.0, 0.0, 0.0, 0.0]])
    assert elected_mean(trimmed).tolist() == [2.0, -3.0, 4.0, 0.0, 0.0]


def test_by_hand() -> None:
    one = {"a": torch.tensor([8.0, 1.0, 0.5]), "b": torch.tensor([-6.0])}
    two = {"a": torch.tensor([2.0, -0.5, 7.0]), "b": torch.tensor([4.0])}
    # Half of four entries: 8 and -6, then 7 and 4. In b the mass is -2, so -6 is kept alone.
    found = TIES(keep=0.5, scale=0.5).merge([one, two])
    assert {name: value.tolist() for name, value in found.items()} == {"a": [4.0, 0.0, 3.5], "b": [-3.0]}


def test_each_tensor_can_be_trimmed_by_itself_as_in_peft() -> None:
    one = {"a": torch.tensor([8.0, 1.0, 7.5]), "b": torch.tensor([-0.1])}
    two = {"a": torch.tensor([2.0, -0.5, 7.0])}
    # One of three entries of a (8 and 7), and the only one of b, which is the smallest of the whole vector.
    found = TIES(keep=0.5, trim="tensor", scale=0.5).merge([one, two])
    assert found["a"].tolist() == [4.0, 0.0, 3.5]
    assert found["b"].tolist() == pytest.approx([-0.05])
    assert TIES(keep=0.5, scale=0.5).merge([one, two])["b"].tolist() == [0.0]


def test_a_parameter_of_one_task_alone_is_taken_as_it_is() -> None:
    found = TIES(keep=1.0).merge([{"a": torch.tensor([1.0])}, {"b": torch.tensor([[2.0]])}])
    assert {name: value.tolist() for name, value in found.items()} == {"a": [1.0], "b": [[2.0]]}


def test_a_trimmed_state_is_merged_even_alone() -> None:
    assert TIES().merges(1)
    assert not TIES(keep=1.0).merges(1)


@pytest.mark.parametrize("keep", [0.0, -0.1, 20.0])
def test_keep_is_a_share(keep: float) -> None:
    with pytest.raises(UserError, match=f"keep: {keep} must be a share above 0 and at most 1"):
        TIES(keep=keep)
