"""Methods that change the stream or what is carried along it: joint, scratch, optimizer_state."""

from __future__ import annotations

from typing import Any

import pytest

from cl.errors import UserError
from cl.methods.method import Method, Stage
from strategies.references.joint import Joint
from strategies.references.scratch import Scratch
from strategies.schedules.infinite import InfCosine
from strategies.schedules.optimizer_state import OptimizerState

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


def test_scratch_starts_every_task_from_the_base_model() -> None:
    found = Scratch().stages(STREAM)
    assert [stage.parent for stage in found] == [None] * 3
    assert [stage.row for stage in found] == [1, 2, 3]
    assert found[0] == STREAM[0]  # the first task is the stream's own


def test_scratch_leaves_a_fork_with_its_trunk() -> None:
    found = Scratch().stages(InfCosine().stages(STREAM))
    assert [stage.parent for stage in found] == [None, 0, None, 2, None, 4]


def test_methods_that_only_change_the_stream_are_in_no_key() -> None:
    methods: list[Method] = [Joint(), Scratch()]
    assert not any(method.active(t) for method in methods for t in (1, 2))


def test_optimizer_state_is_kept_only_where_there_is_one() -> None:
    keep, reset = OptimizerState("keep"), OptimizerState("reset")
    assert [keep.active(t) for t in (1, 2, 3)] == [False, True, True]
    assert [keep.keep_optimizer(), reset.keep_optimizer()] == [True, False]
    assert not reset.active(2)
    assert not keep.warnings()
    assert "without effect" in reset.warnings()[0]
    assert "without effect" in OptimizerState("keep", tasks="first").warnings()[0]


def test_unknown_policy() -> None:
    policy: Any = "carry"
    with pytest.raises(UserError, match="policy: 'carry'"):
        OptimizerState(policy)
