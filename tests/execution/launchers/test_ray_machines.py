"""A train node on several machines of a Ray cluster: two of its nodes on this machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cl.config import loading
from cl.errors import UserError
from cl.execution import runner
from cl.execution.launchers import launcher
from cl.execution.store import Store
from cl.graph import planner
from tests.support.training import Silent, write_toy

pytestmark = pytest.mark.slow


@pytest.fixture
def address() -> Iterator[str]:
    """A Ray cluster of two nodes of one core each."""
    import ray
    from ray.cluster_utils import Cluster

    cluster: Any = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    ray.init(cluster.address, log_to_driver=False)
    yield cluster.address
    ray.shutdown()
    cluster.shutdown()


def losses(folder: Path, name: str, *settings: str) -> list[float]:
    """Losses of the first stage's curve."""
    with contextlib.chdir(folder):
        planned = planner.build(loading.load("toyexp.yaml", ["--upto=1", *settings]))
        store, node = Store(folder / name), planned.runs[0].stages[0].node
        launcher.execute(runner.pending([node], store), store, Silent(), planned.experiment)
    result = store.result(node)
    assert result["devices"] == planned.experiment.train.nodes
    return [point["loss"] for point in result["points"][1:]]


def test_a_stage_of_two_machines_is_that_of_one(tmp_path: Path, address: str) -> None:
    folder = write_toy(tmp_path / "toy")
    there = losses(folder, "two", "--launcher=ray", f"--cluster.address={address}", "--train.nodes=2")
    assert there == pytest.approx(losses(folder, "one"), rel=1e-4)


def test_a_cluster_that_is_started_here_has_one_machine(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.nodes: 2 machines, and the cluster that is started here has one"):
        losses(write_toy(tmp_path / "toy"), "none", "--launcher=ray", "--cluster.workers=1", "--train.nodes=2")
