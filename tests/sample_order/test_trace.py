"""The trace node: a run in one stretch."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest

from cl import cli
from cl.config import loading
from cl.execution.store import Store
from cl.graph import planner
from cl.sample_order import plan
from tests.support.order_command import STEPS, run, toy


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "first"), [("reset", 1), ("keep", 1), ("keep", 2)])
def test_a_trace_in_the_given_order_ends_where_the_train_nodes_end(tmp_path: Path, policy: str, first: int) -> None:
    folder = toy(tmp_path, "own", ["rewarm_cosine", {"optimizer_state": {"policy": policy}}])
    answer = run(folder, "estimate", "--order.orders=[given]", f"--order.first={first}")
    assert answer["fidelity"]["identity"] < 2e-3  # so the recursion has the same moments
    with contextlib.chdir(folder):
        assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none"]) == 0
        planned = planner.build(loading.load("toyexp.yaml", [f"--order.first={first}"]))
        (each,) = plan.build(planned)
    store = Store(str(folder / "store"))
    from safetensors.torch import load_file

    points = np.load(store.path(each.references[0]) / "points.npy")
    state = load_file(store.path(planned.runs[0].stages[-1].node) / "model.safetensors")
    assert points.shape[0] == (3 - first) * STEPS + 1
    total = sum(float((value**2).sum()) for value in state.values())
    assert float((points[-1].astype(np.float64) ** 2).sum()) == pytest.approx(total, rel=1e-6)
