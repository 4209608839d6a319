"""What all methods that merge have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch

from cl.errors import UserError
from cl.methods.method import Trains
from cl.methods.strategy import build_part
from strategies.merging.base import Scaled, entrywise
from strategies.merging.magmax import MagMax
from strategies.merging.task_arithmetic import TaskArithmetic
from strategies.merging.ties import TIES

ONE = {"a": torch.tensor([1.0, -2.0]), "b": torch.tensor([[4.0]])}
TWO = {"a": torch.tensor([3.0, 1.0]), "c": torch.tensor([6.0])}


def test_what_a_vector_lacks_is_zero_in_it() -> None:
    found = entrywise([ONE, {}, TWO], lambda stacked: stacked)
    assert {name: value.tolist() for name, value in found.items()} == {
        "a": [[1.0, -2.0], [0.0, 0.0], [3.0, 1.0]],
        "b": [[[4.0]], [[0.0]], [[0.0]]],
        "c": [[0.0], [0.0], [6.0]],
    }
    assert entrywise([{}, {}], lambda stacked: stacked) == {}


@pytest.mark.parametrize("kind", [TaskArithmetic, MagMax, TIES])
def test_scales(kind: Callable[..., Scaled]) -> None:
    with pytest.raises(UserError, match=r"scale: -0.5 must be at least 0"):
        kind(scale=-0.5)
    assert kind(scale=0.0).validate([]) == ["scale 0 evaluates the base model in every row"]
    assert not kind(scale=2.0).validate([])
    assert all(bool((value == 0).all()) for value in kind(scale=0.0).merge([ONE, TWO]).values())


@pytest.mark.parametrize("kind", [TaskArithmetic, MagMax, partial(TIES, keep=1.0)])
def test_one_state_at_full_scale_is_not_merged_and_would_be_the_same(kind: Callable[..., Scaled]) -> None:
    method = kind(scale=1.0)
    assert [method.merges(states) for states in (1, 2)] == [False, True]
    assert {name: value.tolist() for name, value in method.merge([ONE]).items()} == {
        name: value.tolist() for name, value in ONE.items()
    }
    assert kind(scale=0.5).merges(1)


def test_methods_that_merge_are_in_no_key_of_training() -> None:
    names = ("task_arithmetic", "ties", "magmax", "ema")
    assert not any(isinstance(build_part(name, None, "test").method, Trains) for name in names)
