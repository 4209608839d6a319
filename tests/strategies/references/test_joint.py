"""Joint: one stage of all tasks, in proportion to their budgets or in equal shares."""

from __future__ import annotations

import pytest

from cl.errors import UserError
from cl.methods.method import Method, Stage
from strategies.references.joint import Joint
from strategies.references.scratch import Scratch
from strategies.schedules.infinite import InfCosine

STREAM = [
    Stage("a", {"a": 1.0}, 1, 3000, None, 1),
    Stage("b", {"b": 1.0}, 2, 1000, 0, 2),
    Stage("c", {"c": 0.5, "a": 0.5}, 3, 1000, 1, 3),
]


def test_joint_is_one_stage_of_all_tokens_in_proportion_to_the_budgets() -> None:
    (stage,) = Joint().stages(STREAM)
    assert (stage.name, stage.t, stage.total, stage.parent, stage.row) == ("joint", 1, 5000, None, 3)
    assert stage.tasks == pytest.approx({"a": 0.7, "b": 0.2, "c": 0.1})


def test_joint_with_equal_shares_as_in_the_paper() -> None:
    (stage,) = Joint(equal=True).stages(STREAM[:2])
    assert stage.tasks == {"a": 0.5, "b": 0.5}
    assert stage.row == 2


def test_joint_from_a_pretrained_model_learns_what_is_left() -> None:
    left = [Stage("b", {"b": 1.0}, 2, 1000, None, 2), Stage("c", {"c": 1.0}, 3, 1000, 0, 3)]
    (stage,) = Joint().stages(left)
    assert (stage.t, stage.row, stage.total) == (2, 3, 2000)


def test_joint_can_have_an_infinite_schedule_after_it_but_not_before_it() -> None:
    assert [s.row for s in InfCosine().stages(Joint().stages(STREAM))] == [None, 3]
    with pytest.raises(UserError, match="put it first"):
        Joint().stages(InfCosine().stages(STREAM))


def test_methods_that_only_change_the_stream_are_in_no_key() -> None:
    methods: list[Method] = [Joint(), Scratch()]
    assert not any(method.active(t) for method in methods for t in (1, 2))
