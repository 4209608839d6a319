"""Untrained: rows of R without a train node."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.errors import UserError
from cl.graph.roles import STATE
from strategies.references.untrained import Untrained
from strategies.schedules.rewarm import RewarmCosine
from tests.support.graph import planned
from tests.support.training import write_strategy


def test_every_row_is_the_base_model_and_one_node(toy: Path) -> None:
    write_strategy(toy, "still", ["untrained"])
    graph = planned("--strategies={still: , finetune: }")
    still, other = graph.runs
    assert (still.stages, list(still.rows)) == ([], [0, 1, 2])
    assert {row.key for row in still.rows.values()} == {other.rows[0].key}
    assert all(row.parents[STATE].key == graph.base.key for row in still.rows.values())


def test_alone_it_names_device_and_precision_as_well(toy: Path) -> None:
    write_strategy(toy, "still", ["untrained"])
    graph = planned("--strategies={still: }", "--train.device=cpu", "--train.precision=fp32")
    assert (graph.compute.device, graph.compute.precision) == ("cpu", "fp32")


def test_a_method_that_trains_would_have_no_effect() -> None:
    assert Untrained().validate([]) == []
    with pytest.raises(UserError, match="RewarmCosine acts in training, and nothing is trained; leave one of the two"):
        Untrained().validate([RewarmCosine()])


def test_the_first_task_is_learned_and_later_rows_are_of_the_state_after_it(toy: Path) -> None:
    write_strategy(toy, "still", [{"untrained": {"tasks": "later"}}, "constant"])
    write_strategy(toy, "plain", ["constant"])
    still, plain = planned("--strategies={still: , plain: }").runs
    assert [stage.node.key for stage in still.stages] == [plain.stages[0].node.key]
    assert list(still.rows) == list(plain.rows) == [0, 1, 2]
    assert still.rows[2].key == still.rows[1].key == plain.rows[1].key != plain.rows[2].key


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="tasks: 'first' is neither all nor later"):
        Untrained(tasks="first")
    assert Untrained(tasks="later").validate([RewarmCosine()]) == []
