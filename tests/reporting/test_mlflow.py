"""MLflow: every point once, whatever happens to the server or to us; checked against a real server."""

from __future__ import annotations

import builtins
import contextlib
import dataclasses
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
from cl.metrics.records import ExperimentResult
from cl.reporting.mlflow import Tracker
from cl.reporting.mlflow_runs import MlflowRuns
from cl.reporting.mlflow_values import Beside, final_metrics
from tests.support import training
from tests.support.mlflow_server import STEPS, TOKENS, Server, points, result_of, stored
from tests.support.training import ROOT, plan, results, start, write_toy

# MLflow's own calls of what its dependencies deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

STRATEGIES = {"finetune": None, "rewarm": None}  # they share the first task


@pytest.fixture
def tracked(tmp_path: Path, monkeypatch: Any) -> Iterator[Any]:
    """Makes trackers of the toy experiment, each as in a new process; they only send when told to."""
    server = Server()
    monkeypatch.setattr(MlflowRuns, "client", server)
    monkeypatch.setattr(Store, "result", stored)
    monkeypatch.setattr("cl.reporting.mlflow.FLUSH_SECONDS", 3600.0)
    graph, store = plan(write_toy(tmp_path))
    with contextlib.ExitStack() as stack:

        def make() -> Tracker:
            tracker = Tracker("http://me:geheim@away", "toyexp", graph.runs, store, None)
            stack.callback(tracker.close)
            tracker.connected.wait()
            return tracker

        yield SimpleNamespace(
            make=make, server=server, nodes=[stage.node for stage in graph.runs[0].stages], result=result_of(graph)
        )


def positions(first: int, last: int) -> list[int]:
    """Tokens of the points of a stage."""
    return [TOKENS // STEPS * step for step in range(first, last + 1)]


def test_points_stand_at_their_tokens_in_the_whole_stream(tracked: Any) -> None:
    tracker = tracked.make()
    for node in tracked.nodes:
        for point in points(0, 3):
            tracker.point(node, point)
    tracker.close()
    assert tracked.server.steps() == [*positions(0, 3), *(TOKENS + tokens for tokens in positions(0, 3))]
    assert len(tracked.server.runs) == 2  # the experiment's run, and its child
    rows = [row for row in tracked.server.runs["run-1"].rows if row.key == "loss"]
    assert [row.timestamp - rows[0].timestamp for row in rows] == [0, 500, 1000, 1500, 5000, 5500, 6000, 6500]


def test_a_server_that_is_away_for_a_while_misses_nothing(tracked: Any) -> None:
    tracker, node = tracked.make(), tracked.nodes[0]
    for away, part in ((0, points(0, 2)), (1, points(3, 5)), (0, points(6, 8))):
        tracked.server.away = away
        for point in part:
            tracker.point(node, point)
        tracker._try(tracker._flush)
        assert tracker.problem == ("ConnectionError: nobody there at http://me:***@away" if away else "")
    assert tracked.server.steps() == positions(0, 8)


def test_a_resumed_node_goes_on_where_its_delivery_stopped(tracked: Any) -> None:
    node = tracked.nodes[0]
    first = tracked.make()
    for point in points(0, 4):
        first.point(node, point)
    first._flush()
    first.point(node, points(5, 5)[0])  # recorded, and the process is killed before it is sent
    second = tracked.make()
    for point in points(0, 9, slower=1.3):  # the points of the checkpoint are announced again
        second.point(node, point)
    second._flush()
    assert tracked.server.steps() == positions(0, 9)
    assert len(tracked.server.runs) == 2


def test_everything_that_is_missing_is_sent_at_the_end_and_nothing_afterwards(tracked: Any, tmp_path: Path) -> None:
    (tmp_path / "report" / "plots").mkdir(parents=True)
    (tmp_path / "report" / "plots" / "a.json").write_text("{}")
    first = tracked.make()
    first.point(tracked.nodes[0], points(2, 2)[0])
    first._flush()
    first.finish(tracked.result, tmp_path / "report")
    assert first.problem == ""
    assert sorted(tracked.server.steps()) == sorted([*positions(0, STEPS), *(TOKENS + p for p in positions(0, STEPS))])
    parent, run = tracked.server.runs.values()
    assert (parent.info.status, run.info.status) == ("FINISHED", "FINISHED")
    assert parent.files == [str(tmp_path / "report" / "plots" / "a.json")]
    assert run.files == ["R.csv", "R.json"]
    assert (run.params["train.lr"], run.tags["cl.node.0.english"]) == ("0.1", tracked.nodes[0].key)
    rows = list(run.rows)
    tracked.make().finish(tracked.result, tmp_path / "report")
    assert run.rows == rows


def test_a_run_that_could_not_be_completed_is_left_open(tracked: Any, tmp_path: Path) -> None:
    tracker = tracked.make()
    tracker.point(tracked.nodes[0], points(1, 1)[0])
    tracker._flush()
    tracker.finish(dataclasses.replace(tracked.result, runs=[]), tmp_path / "none")
    assert tracker.problem == ""
    assert [run.info.status for run in tracked.server.runs.values()] == ["FINISHED", "RUNNING"]


def test_results_beside_the_runs_are_sent_once(tracked: Any, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text("page")
    found = [Beside(name, "key", {"a": 1}, {"loss": 1.0}, [file]) for name in ("one", "two")]
    for _ in range(2):
        tracker = tracked.make()
        tracker.beside(found)
        assert tracker.problem == ""
    assert [run.tags["mlflow.runName"] for run in tracked.server.runs.values()] == ["toyexp: all runs", "one", "two"]
    assert tracked.server.steps() == [0, 0]
    assert [run.files for run in tracked.server.runs.values()] == [[], [str(file)], [str(file)]]


def test_no_two_threads_import_mlflow(tracked: Any, monkeypatch: Any) -> None:
    # Its modules import each other in a circle: a second thread meets them half made, and they stay so.
    tracker, imported = tracked.make(), builtins.__import__
    beside: list[str] = []

    def watched(name: str, *rest: Any, **named: Any) -> Any:
        ours = [thread for thread in threading.enumerate() if thread.name.startswith("mlflow")]
        if name.startswith("mlflow") and ours != [threading.current_thread()]:
            beside.append(name)
        return imported(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", watched)
    tracker.beside([Beside("found", "key", {}, {"loss": 1.0}, [])])
    assert tracked.server.steps() == [0]
    assert not beside


@pytest.mark.slow
def test_the_thread_imports_nothing_that_computing_a_node_imports_too(tmp_path: Path) -> None:
    """In a process that has imported nothing yet: two threads that import SciPy at once break it."""
    code = f"""
import sys
from cl.execution.store import Store
from cl.reporting.mlflow import Tracker
tracker = Tracker("sqlite:///{tmp_path}/new.db", "toyexp", [], Store("{tmp_path}/store"), None)
before = set(sys.modules)
tracker.connected.wait()
assert not tracker.problem, tracker.problem
print(*{{name.split(".")[0] for name in set(sys.modules) - before}})
tracker.close()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert set(done.stdout.split()) <= {"alembic", "mlflow", "sqlalchemy"}


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
    moment = f"cl.training.learner:Learner.training_step {training.STEPS + 17}"
    killed = start(folder, module="tests.support.kill_driver", KILL=moment)
    assert killed.returncode == -signal.SIGKILL
    done = start(folder)
    assert done.returncode == 0, done.stderr
    assert "not delivered" not in done.stdout
    check_everything_is_there(MlflowClient(f"sqlite:///{folder}/store/mlflow.db"), folder)
