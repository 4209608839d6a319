"""Nodes on a real Ray cluster of this machine: separate processes, the same bits, in a folder and in a bucket."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cl import cli
from cl.config import loading
from cl.config.runtime import Cluster
from cl.errors import UserError
from cl.execution import runner
from cl.execution.launchers import launcher
from cl.execution.store import Store
from cl.execution.verification import verify
from cl.graph import planner
from cl.graph.node import Node
from cl.metrics.records import Point
from tests.support.damage import damage
from tests.support.training import write_toy

pytestmark = pytest.mark.slow

LONG = ("--tokens=12800", "--checkpoints.steps=10")  # 100 steps a task


class Ears:
    """Writes down what is heard, and how many train nodes were in progress at once."""

    def __init__(self) -> None:
        self.heard: list[tuple[str, str]] = []
        self.first: dict[int, int] = {}  # number of the attempt -> steps done when it is first heard of
        self.training, self.most, self.attempts = set[str](), 0, 0

    def waiting(self, node: Node) -> None:
        self.heard.append(("waiting", node.name))

    def found(self, node: Node) -> None:
        self.heard.append(("found", node.name))

    def started(self, node: Node) -> None:
        self.heard.append(("started", node.name))
        if node.kind == "train":
            self.attempts += node.name == "german"
            self.training.add(node.key)
            self.most = max(self.most, len(self.training))

    def progress(self, node: Node, done: int, total: int) -> None:
        if node.name == "german":
            self.first.setdefault(self.attempts, done)

    def point(self, node: Node, point: Point) -> None: ...

    def note(self, node: Node, text: str) -> None:
        self.heard.append((text, node.name))

    def finished(self, node: Node, seconds: float) -> None:
        self.heard.append(("finished", node.name))
        self.training.discard(node.key)


class Killer(Ears):
    """Kills the worker of the second task once it is past a checkpoint."""

    killed: int | None = None

    def point(self, node: Node, point: Point) -> None:
        if node.name == "german" and point.step >= 40 and self.killed is None:
            (self.killed,) = [
                int(entry.name)
                for entry in Path("/proc").iterdir()
                if entry.name.isdigit() and (entry / "cmdline").read_bytes().startswith(b"ray::train german")
            ]
            os.kill(self.killed, signal.SIGKILL)


def run(url: str, where: str, listener: Any, *settings: str, scratch: Path | None = None) -> dict[str, Any]:
    """Execute the toy experiment; returns what each node holds, by its key: checksums of files, and cells of R."""
    planned = planner.build(loading.load("toyexp.yaml", [f"--launcher={where}", "--cluster.workers=2", *settings]))
    store = Store(url, scratch)
    nodes = [node for run in planned.runs for node in (*(s.node for s in run.stages), *run.rows.values())]
    launcher.execute(runner.pending(nodes, store), store, listener, planned.experiment)
    return {record.key: (record.files, record.result.get("cells")) for record in store.records()}


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Path]:
    with contextlib.chdir(write_toy(tmp_path / "toy")):
        yield tmp_path


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """A bucket on an S3 server of this machine."""
    import boto3  # here: collecting the fast tests must not wait for it
    import fsspec
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    secrets = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), "test")
    found = {"AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_DEFAULT_REGION": "us-east-1", **secrets}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.items():
            patch.setenv(name, value)
        client = boto3.client("s3")
        client.create_bucket(Bucket="shared")
        client.close()
        fsspec.get_filesystem_class("s3").clear_instance_cache()  # those of tests before have no credentials
        yield "s3://shared/cl"
    server.stop()


@pytest.fixture(scope="module")
def cluster(bucket: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two workers for several tests, which the launcher finds running; they know the bucket."""
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    import_in_two_workers(tmp_path_factory.mktemp("workers"))
    yield
    ray.shutdown()


def import_in_two_workers(folder: Path) -> None:
    """Start both workers and import what computes: one could finish all while the other still imports."""
    import ray

    def imported() -> None:
        from cl.graph.kinds import KINDS

        for kind in KINDS.values():
            kind.module()
        (folder / str(os.getpid())).touch()
        while len(list(folder.iterdir())) < 2:
            time.sleep(0.05)

    task = ray.remote(imported)
    ray.get([task.remote() for _ in range(2)], timeout=300)


def test_a_gpu_that_this_machine_will_never_have_is_refused_at_once(toy: Path) -> None:
    with pytest.raises(UserError, match=r"train english: needs 1 GPU\(s\), this cluster has 0"):
        run(str(toy / "store"), "ray", Ears(), "--train.device=cuda")


def test_more_processes_than_the_cluster_has_cores_are_refused_at_once(toy: Path) -> None:
    settings = ("--train.devices=2", "--cluster.cpus=2", "--cluster.workers=1")
    with pytest.raises(UserError, match=r"train english: needs 4 CPU\(s\), this cluster has 2"):
        run(str(toy / "store"), "ray", Ears(), *settings)


def test_a_cluster_that_is_not_there_is_said() -> None:

    from cl.execution.launchers import ray as on_ray

    with (
        pytest.raises(UserError, match=r"cluster\.address: 127\.0\.0\.1:1 cannot be reached"),
        on_ray._connected(Cluster(address="127.0.0.1:1")),
    ):
        pass


def test_divergence_on_a_worker_is_one_line_here(toy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["run", "toyexp.yaml", "--tracking.uri=none", "--launcher=ray", "--cluster.workers=1"]
    assert cli.main([*command, "--train.lr=1e30"]) == 3
    assert "train english: diverged at step" in (error := capsys.readouterr().err)
    assert error.count("\n") == 1


def test_two_workers_train_side_by_side_and_give_the_bits_of_the_local_launcher(toy: Path, cluster: None) -> None:
    ears, seeds = Ears(), "--seeds=[0,1]"
    there = run(str(toy / "ray"), "ray", ears, seeds, *LONG)
    here = run(str(toy / "local"), "local", Ears(), seeds, *LONG)
    assert ears.most == 2
    assert there == here
    assert sum(cells is not None for _, cells in there.values()) == 6  # three rows of R for each seed
    assert [what for what, _ in ears.heard].count("finished") == len(there)


def test_a_killed_worker_is_replaced_and_its_node_goes_on_from_its_checkpoint(toy: Path, cluster: None) -> None:
    killer = Killer()
    there = run(str(toy / "ray"), "ray", killer, *LONG)
    assert killer.killed is not None
    assert killer.heard.count(("started", "german")) == 3  # its data once; trained in two attempts
    assert killer.first[1] < 20 <= killer.first[2]  # at the point of step 40, that of step 30 may still be written
    assert there == run(str(toy / "local"), "local", Ears(), *LONG)


def test_a_damaged_parent_is_made_again_by_a_worker_and_told_of(toy: Path, cluster: None) -> None:
    before, ears, store = run(str(toy / "ray"), "ray", Ears()), Ears(), Store(toy / "ray")
    for record in list(store.records()):
        place = toy / "ray" / "nodes" / record.key
        if record.identity["kind"] == "base":
            damage(place / "model.safetensors", "flipped")
        elif record.identity["kind"] in ("train", "evaluate"):
            shutil.rmtree(place)
    assert run(str(toy / "ray"), "ray", ears) == before
    assert {name for what, name in ears.heard if "set aside" in what} == {"llama-tiny"}  # by each that needs it
    assert ears.heard.count(("finished", "llama-tiny")) == 1


def test_a_bucket_serves_as_the_store_of_all(toy: Path, bucket: str, cluster: None) -> None:
    there = run(bucket, "ray", Ears(), scratch=toy / "cache")
    assert there == run(str(toy / "local"), "local", Ears())
    again = Store(bucket, toy / "another machine")
    assert [verify(again, key) for key in there] == [[]] * len(there)
