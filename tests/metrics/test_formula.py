"""Declarations of metrics: what a formula checks, values without a number, families, formulas on losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from cl.errors import UserError
from cl.metrics.formula import NATS, SCORE, Formula, change_of_losses, formula, level_of_losses
from cl.metrics.result_matrix import ResultMatrix, mean

R = ResultMatrix(np.array([[0.0, 0.0], [0.5, 0.25], [0.75, 1.0]]))


@formula("last/of", better="higher", unit=SCORE, source="test")
def last(r: ResultMatrix) -> float:
    """Mean over tasks i of R[T,i].

    Further lines are no part of the description.
    """
    return mean(r(r.T, i) for i in r.tasks())


@formula("cell/{t}/of", better="higher", unit=SCORE, source="test", numbers=ResultMatrix.tasks)
def cell(r: ResultMatrix, t: int) -> float:
    """R[t,1]."""
    return r(t, 1)


def test_a_function_becomes_a_formula() -> None:
    assert isinstance(last, Formula)
    assert (last.key, last.description) == ("last/of", "Mean over tasks i of R[T,i].")
    assert last.evaluate(R).value == 0.875


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"better": "up"}, r"metric 'a': better \['up'\] must be of lower, higher"),
        ({"inputs": ("accuracy",)}, "must be of scores, losses"),
        ({"inputs": ()}, "must be of scores, losses"),
        ({"unit": ""}, "unit is empty"),
        ({"source": ""}, "source is empty"),
        ({"description": ""}, "description is empty"),
        ({"key": "a/{t}"}, "declares `numbers`"),
        ({"numbers": ResultMatrix.tasks}, "declares `numbers`"),
    ],
)
def test_a_declaration_checks_itself(changes: dict[str, Any], message: str) -> None:
    fields = {"key": "a", "better": "lower", "unit": SCORE, "description": "A.", "source": "test", "compute": float}
    with pytest.raises(UserError, match=message):
        Formula(**{**fields, **changes})


@pytest.mark.parametrize(
    ("value", "reason"),
    [(lambda r: r(1, 1) / r(0, 1), "division by zero"), (lambda r: math.nan, "the value is nan"),
     (lambda r: math.inf, "the value is inf")],
)  # fmt: skip
def test_no_finite_value_is_undefined_with_a_reason(value: Any, reason: str) -> None:
    found = Formula("a", "lower", SCORE, "A.", "test", value).evaluate(R)
    assert math.isnan(found.value)
    assert found.reason == reason


def test_a_family_has_a_metric_for_each_number() -> None:
    assert [member.evaluate(R) for member in cell.members(R)] == [
        cell.member(1).evaluate(R), cell.member(2).evaluate(R)]  # fmt: skip
    found = cell.matching("cell/2/of")
    assert found is not None
    assert (found.key, found.evaluate(R).value) == ("cell/2/of", 0.75)
    assert [cell.matching(key) for key in ("cell/02/of", "cell//of", "cell/2", "cell/x/of")] == [None] * 4


def test_a_level_on_losses_is_better_low_and_a_change_keeps_its_direction() -> None:
    level = level_of_losses(last, "last/nll")
    assert (level.better, level.unit, level.inputs, level.mean_loss) == ("lower", NATS, ("losses",), True)
    assert level.evaluate(R).value == 0.875
    assert not level_of_losses(cell, "cell_nll/{t}").mean_loss
    change = change_of_losses(
        Formula("rise", "higher", SCORE, "Rise.", "test", lambda r: r(2, 1) - r(1, 1)), "rise_nll"
    )
    assert (change.better, change.unit, change.mean_loss) == ("higher", NATS, False)
    assert change.evaluate(R).value == -0.25  # the loss rose from .5 to .75
    assert change.description == "Rise, with R the negated loss."
