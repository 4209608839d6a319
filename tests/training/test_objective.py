"""Which objective a stage minimises."""

from __future__ import annotations

import pytest

from cl.errors import UserError
from cl.methods.method import Trains
from cl.methods.objective import TokenCrossEntropy
from cl.training.objective import objective_of
from tests.support.methods import Half, Names


def test_without_a_method_that_names_one_it_is_the_cross_entropy_of_tokens() -> None:
    for methods in ([], [Trains()]):
        found = objective_of(methods)
        assert isinstance(found, TokenCrossEntropy)
        assert found.learns_from == ("text", "instruction")


def test_the_one_that_a_method_names_is_taken() -> None:
    half = Half()
    assert objective_of([Trains(), Names(half)]) is half


def test_of_two_none_is_taken() -> None:
    with pytest.raises(UserError, match="each replace the loss, only one may"):
        objective_of([Names(Half()), Names(Half())])
