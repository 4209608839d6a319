"""Adam's moments between tasks: kept or reset, as named."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from cl.errors import UserError
from strategies.schedules.optimizer_state import OptimizerState
from tests.support.training import (
    STEPS,
    execute,
    plan,
    write_toy,
)


@pytest.mark.slow
@pytest.mark.parametrize(("strategy", "updates"), [("rewarm", STEPS), ("rewarm_keep", 2 * STEPS)])
def test_optimizer_state_is_kept_or_reset(strategy: str, updates: int, tmp_path: Path) -> None:
    folder = write_toy(tmp_path, strategies={strategy: None})
    graph, store = plan(folder)
    node = graph.runs[0].stages[1].node
    assert node.local is not None
    local = dataclasses.replace(node.local, keep_optimizer=True)
    kept = dataclasses.replace(node, local=local, needs=frozenset({"optimizer.safetensors"}))
    execute(folder, kept, store)
    state = load_file(store.path(kept) / "optimizer.safetensors")
    assert {float(value) for name, value in state.items() if name.endswith("/step")} == {updates}


def test_optimizer_state_is_kept_only_where_there_is_one() -> None:
    keep, reset = OptimizerState("keep"), OptimizerState("reset")
    assert [keep.active(t) for t in (1, 2, 3)] == [False, True, True]
    assert [keep.carries_optimizer(), reset.carries_optimizer()] == [True, False]
    assert not reset.active(2)
    assert not keep.validate([])
    assert "without effect" in reset.validate([])[0]
    assert "without effect" in OptimizerState("keep", tasks="first").validate([])[0]


def test_unknown_policy() -> None:
    policy: Any = "carry"
    with pytest.raises(UserError, match="policy: 'carry'"):
        OptimizerState(policy)
