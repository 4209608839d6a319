"""MLflow: every point once, whatever happens to the server or to us; checked against a real server."""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cl.execution.store import Store
from cl.metrics.records import ExperimentResult, Point
from cl.reporting.mlflow import Tracker, _make_database
from cl.reporting.mlflow_values import final_metrics
from tests.support.training import EXPERIMENT, ROOT, STEPS, plan, results, start, write_toy

# MLflow's own calls of what its dependencies deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

STRATEGIES = {"finetune": None, "rewarm": None}  # they share the first task


class Server:
    """What a Tracker asks of MLflow, in memory, with MLflow's limits; `away`: how many calls fail."""

    def __init__(self) -> None:
        self.away = 0
        self.runs: dict[str, list[tuple[str, int, float]]] = {}

    def _call(self) -> None:
        if self.away:
            self.away -= 1
            raise ConnectionError("nobody\nthere")

    def search_experiments(self, max_results: int) -> list[Any]:
        return []

    def get_experiment_by_name(self, name: str) -> SimpleNamespace:
        self._call()
        return SimpleNamespace(experiment_id="1")

    def create_run(self, experiment_id: str, tags: dict[str, str]) -> SimpleNamespace:
        self._call()
        run_id = f"run-{len(self.runs)}"
        self.runs[run_id] = []
        return SimpleNamespace(info=SimpleNamespace(run_id=run_id))

    def get_run(self, run_id: str) -> SimpleNamespace:
        from mlflow import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_DOES_NOT_EXIST

        self._call()
        if run_id not in self.runs:
            raise MlflowException("gone", RESOURCE_DOES_NOT_EXIST)
        return SimpleNamespace(info=SimpleNamespace(lifecycle_stage="active"))

    def set_terminated(self, run_id: str) -> None:
        self._call()

    def log_batch(self, run_id: str, metrics: Any, params: Any = ()) -> None:
        self._call()
        assert 0 < len(metrics) <= 1000
        self.runs[run_id] += [(metric.key, metric.step, metric.value) for metric in metrics]

    def steps(self, name: str = "loss") -> list[int]:
        return [step for rows in self.runs.values() for key, step, _ in rows if key == name]


@pytest.fixture
def tracked(tmp_path: Path, monkeypatch: Any) -> Iterator[Any]:
    """Makes trackers of the toy experiment, each as in a new process; they only send when told to."""
    server = Server()
    monkeypatch.setattr(Tracker, "client", server)
    monkeypatch.setattr("cl.reporting.mlflow.FLUSH_SECONDS", 3600.0)
    graph, store = plan(write_toy(tmp_path))
    with contextlib.ExitStack() as stack:

        def make() -> Tracker:
            tracker = Tracker("http://away", tmp_path / "tracking", "toyexp", graph.runs, store, None)
            stack.callback(tracker.close)
            return tracker

        yield SimpleNamespace(make=make, server=server, nodes=[stage.node for stage in graph.runs[0].stages])


def points(first: int, last: int) -> list[Point]:
    return [Point(step, 10 * step, float(step), loss=1.0) for step in range(first, last + 1)]


def test_points_stand_at_their_tokens_in_the_whole_stream(tracked: Any, monkeypatch: Any) -> None:
    # What the parent stage really read, as its stored result says.
    monkeypatch.setattr(Store, "result", lambda self, node: {"tokens": EXPERIMENT["tokens"]})
    tracker = tracked.make()
    for node in tracked.nodes:
        for point in points(0, 3):
            tracker.point(node, point)
    tracker.close()
    offset = EXPERIMENT["tokens"]
    assert tracked.server.steps() == [0, 10, 20, 30, offset, offset + 10, offset + 20, offset + 30]
    assert len(tracked.server.runs) == 2  # the experiment's run, and its child


def test_a_server_that_is_away_for_a_while_misses_nothing(tracked: Any) -> None:
    tracker, node = tracked.make(), tracked.nodes[0]
    for away, part in ((0, points(0, 2)), (1, points(3, 5)), (0, points(6, 8))):
        tracked.server.away = away
        for point in part:
            tracker.point(node, point)
        tracker._flush()
        assert tracker.problem == ("ConnectionError: nobody there" if away else "")
    assert tracked.server.steps() == [10 * step for step in range(9)]


def test_what_is_sent_in_parts_is_remembered_in_parts(tracked: Any) -> None:
    tracker = tracked.make()
    for point in points(0, 50):
        tracker.point(tracked.nodes[0], point)
    inner, calls = tracked.server.log_batch, iter(range(1, 4))

    def third_fails(run_id: str, metrics: Any) -> None:
        if next(calls) == 3:
            raise ConnectionError
        inner(run_id, metrics)

    tracked.server.log_batch = third_fails
    tracker._flush()
    assert tracked.server.steps() == [10 * step for step in range(40)]
    tracked.server.log_batch = inner
    again = tracked.make()
    for point in points(0, 50):
        again.point(tracked.nodes[0], point)
    again._flush()
    assert tracked.server.steps() == [10 * step for step in range(51)]


def test_a_resumed_node_goes_on_where_its_delivery_stopped(tracked: Any) -> None:
    node = tracked.nodes[0]
    first = tracked.make()
    for point in points(0, 4):
        first.point(node, point)
    first._flush()
    first.point(node, Point(5, 50, 5.0, loss=1.0))  # recorded, and the process is killed before it is sent
    second = tracked.make()
    for point in points(0, 9):  # the points of the checkpoint are announced again
        second.point(node, point)
    second._flush()
    assert tracked.server.steps() == [10 * step for step in range(10)]
    assert len(tracked.server.runs) == 2


def test_a_run_that_was_deleted_on_the_server_is_made_anew(tracked: Any) -> None:
    first = tracked.make()
    first.point(tracked.nodes[0], points(1, 1)[0])
    first.close()
    tracked.server.runs.clear()
    second = tracked.make()
    second.point(tracked.nodes[0], points(1, 1)[0])
    second.close()
    assert second.problem == ""
    assert tracked.server.steps() == [10]


def test_no_two_threads_import_mlflow(tracked: Any, monkeypatch: Any) -> None:
    # Its modules import each other in a circle: a second thread meets them half made, and they stay so.
    tracker, imported = tracked.make(), builtins.__import__
    beside: list[str] = []

    def watched(name: str, *rest: Any, **named: Any) -> Any:
        if name.startswith("mlflow") and threading.current_thread() is not tracker.thread and tracker.thread.is_alive():
            beside.append(name)
        return imported(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", watched)
    tracker.beside("found", "key", {}, {"loss": 1.0}, [])
    assert tracked.server.steps() == [0]
    assert not beside


@pytest.mark.slow
def test_the_thread_imports_nothing_that_computing_a_node_imports_too(tmp_path: Path) -> None:
    """In a process that has imported nothing yet: two threads that import SciPy at once break it."""
    code = f"""
import sys
from pathlib import Path
from cl.execution.store import Store
from cl.reporting.mlflow import Tracker
tracker = Tracker("sqlite:///{tmp_path}/new.db", Path("{tmp_path}"), "toyexp", [], Store("{tmp_path}/store"), None)
before = set(sys.modules)
tracker.connected.wait()
assert not tracker.problem, tracker.problem
print(*{{name.split(".")[0] for name in set(sys.modules) - before}})
tracker.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(done.stdout.split()) <= {"alembic", "mlflow", "sqlalchemy"}


@pytest.mark.slow
def test_a_database_is_there_complete_or_not_at_all(tmp_path: Path, monkeypatch: Any) -> None:
    from mlflow import MlflowClient

    class Interrupted(BaseException):
        """As a kill would be: nothing in the way catches it."""

    def stop(*_: Any) -> None:
        raise Interrupted

    file = tmp_path / "store" / "mlflow.db"
    with monkeypatch.context() as patch:
        patch.setattr("os.link", stop)
        with pytest.raises(Interrupted):
            _make_database(file)
    assert not file.exists()
    _make_database(file)
    assert [found.name for found in MlflowClient(f"sqlite:///{file}").search_experiments()] == ["Default"]
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]
    _make_database(file)  # who comes second changes nothing
    assert [path.name for path in file.parent.iterdir()] == ["mlflow.db"]


def test_many_metrics_go_in_several_calls(tracked: Any) -> None:
    wide = Point(1, 10, 1.0, terms={f"term{i}": 1.0 for i in range(2500)})
    tracker = tracked.make()
    tracker.point(tracked.nodes[0], wide)
    tracker.close()
    assert tracker.problem == ""
    assert sum(len(rows) for rows in tracked.server.runs.values()) == 2501


@pytest.mark.slow
def test_mlflow_reports_nothing_home() -> None:
    code = (
        "import sys, cl.reporting.mlflow; assert 'mlflow' not in sys.modules; import mlflow;"
        "from mlflow.telemetry.utils import is_telemetry_disabled; assert is_telemetry_disabled();"
        "from mlflow.telemetry.client import get_telemetry_client; assert get_telemetry_client() is None"
    )
    clean = {key: value for key, value in os.environ.items() if key not in ("MLFLOW_DISABLE_TELEMETRY", "CI")}
    subprocess.run([sys.executable, "-c", code], env=clean | {"PYTHONPATH": str(ROOT)}, check=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(folder: Path, port: int) -> Iterator[str]:
    """A real MLflow server with its own database and artifacts."""
    folder.mkdir()
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder}/mlflow.db", "--artifacts-destination", f"{folder}/files"]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=log,
            env=os.environ | {"MLFLOW_DISABLE_TELEMETRY": "true"},
            start_new_session=True,
        )
    uri = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            assert server.poll() is None, (folder / "log").read_text()
            with contextlib.suppress(OSError), urllib.request.urlopen(f"{uri}/health", timeout=5):
                break
            time.sleep(0.2)
        yield uri
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=60)


def histories(client: Any, run_id: str, name: str) -> list[tuple[int, float]]:
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, name))


def recorded(run: Any, name: str) -> list[tuple[int, float]]:
    """A metric of the curve as the result says it: (tokens of the whole stream, value)."""
    rows = [(s["offset"] + p["tokens"], p[name]) for s in run["stages"] for p in s["points"] if p[name] is not None]
    return sorted(rows)


def runs_of(client: Any) -> tuple[Any, dict[str, Any]]:
    """The experiment's run, and its children by strategy."""
    found = client.search_runs([client.get_experiment_by_name("toyexp").experiment_id])
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    children = {run.data.params["strategy"]: run for run in found if run is not parent}
    assert all(run.data.tags["mlflow.parentRunId"] == parent.info.run_id for run in children.values())
    assert len(found) == 1 + len(children)
    return parent, children


def check_everything_is_there(client: Any, folder: Path) -> None:
    parent, children = runs_of(client)
    result = results(folder)
    assert list(STRATEGIES) == [run["strategy"] for run in result["runs"]]
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} >= {"report.html", "results.json"}
    for run in result["runs"]:
        child = children[run["strategy"]]
        run_id = child.info.run_id
        assert child.info.status == "FINISHED"
        for name in ("loss", "seconds"):
            assert histories(client, run_id, name) == recorded(run, name)
        found = ExperimentResult.load(folder / "results" / "toyexp" / "results.json")
        typed = next(entry for entry in found.runs if entry.strategy == run["strategy"])
        for name, value, tokens in final_metrics(typed, []):
            assert (tokens, value) in histories(client, run_id, name)
        tags, params = child.data.tags, child.data.params
        assert tags["cl.node.0.english"] == run["stages"][0]["key"]
        assert tags["cl.row.2"] == run["matrix_keys"]["2"]
        assert (params["seed"], params["order"], params["train.lr"]) == ("0", "english,german", "0.003")
        assert params["methods.rewarm_cosine.tasks"] == "first"
        inputs = {entry.dataset.name: entry.dataset for entry in child.inputs.dataset_inputs}
        assert sorted(inputs) == ["english", "german"]
        assert inputs["english"].digest == result["data"]["english"]["fingerprint"]
        json_file, csv_file = (Path(client.download_artifacts(run_id, name)) for name in ("R.json", "R.csv"))
        assert json.loads(json_file.read_text()) == run["matrix"]
        assert len(csv_file.read_text().splitlines()) == 1 + sum(len(row) for row in run["matrix"].values())


def everything(client: Any) -> Any:
    """All metric histories of all runs, to see whether anything was added."""
    parent, children = runs_of(client)
    runs = [parent, *children.values()]
    return {r.info.run_id: {name: histories(client, r.info.run_id, name) for name in r.data.metrics} for r in runs}


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_a_server_gets_everything_once(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    folder = write_toy(tmp_path / "toy", strategies=STRATEGIES)
    with serving(tmp_path / "server", free_port()) as uri:
        done = start(folder, f"--tracking.uri={uri}")
        assert done.returncode == 0, done.stderr
        assert "not delivered" not in done.stdout
        client = MlflowClient(uri)
        check_everything_is_there(client, folder)
        before = everything(client)
        again = start(folder, f"--tracking.uri={uri}")
        assert again.returncode == 0, again.stderr
        assert everything(client) == before


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_a_server_that_is_away_gets_everything_later(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    folder, port = write_toy(tmp_path / "toy", strategies=STRATEGIES), free_port()
    done = start(folder, f"--tracking.uri=http://127.0.0.1:{port}")
    assert done.returncode == 0, done.stderr
    assert f"not delivered to http://127.0.0.1:{port}" in " ".join(done.stdout.split())
    assert (folder / "results" / "toyexp" / "report.html").exists()
    assert len(results(folder)["runs"]) == 2
    with serving(tmp_path / "server", port) as uri:
        done = start(folder, f"--tracking.uri={uri}")
        assert done.returncode == 0, done.stderr
        assert "not delivered" not in done.stdout
        assert results(folder)["executed"] == 0
        check_everything_is_there(MlflowClient(uri), folder)


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_killed_and_resumed_in_one_mlflow_run_in_the_default_file(tmp_path: Path) -> None:
    from mlflow import MlflowClient

    folder = write_toy(tmp_path, strategies=STRATEGIES, checkpoints={"steps": 10})
    moment = f"cl.training.learner:Learner.training_step {STEPS + 17}"
    killed = start(folder, module="tests.support.kill_driver", KILL=moment)
    assert killed.returncode == -signal.SIGKILL
    done = start(folder)
    assert done.returncode == 0, done.stderr
    assert "not delivered" not in done.stdout
    check_everything_is_there(MlflowClient(f"sqlite:///{folder}/store/mlflow.db"), folder)
