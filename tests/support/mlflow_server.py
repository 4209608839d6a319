"""An MLflow server in memory, what a Tracker sends it, and servers that answer badly."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

from cl.graph.planner import Graph
from cl.graph.run_plan import RunPlan
from cl.metrics.records import ExperimentResult, Point, RunResult, StageResult
from tests.support import results

TOKENS, SECONDS, STEPS = 500, 5.0, 10  # of each stage


class Server:
    """What `MlflowRuns` asks of MLflow, with MLflow's limits. Like a folder of files, it keeps what it gets twice.

    away: how many of the next calls fail; before: called before each call, with its name.
    """

    def __init__(self) -> None:
        self.away = 0
        self.before: Callable[[str], None] = lambda name: None
        self.experiments: list[str] = []
        self.runs: dict[str, SimpleNamespace] = {}
        self.clock = itertools.count(1000)

    def _call(self, name: str) -> None:
        self.before(name)
        if self.away:
            self.away -= 1
            raise ConnectionError("nobody\nthere at http://me:geheim@away")

    def search_experiments(self, max_results: int) -> list[Any]:
        self._call("search_experiments")
        return []

    def get_experiment_by_name(self, name: str) -> SimpleNamespace | None:
        self._call("get_experiment_by_name")
        return SimpleNamespace(experiment_id=name) if name in self.experiments else None

    def create_experiment(self, name: str, artifact_location: str | None, tags: dict[str, str]) -> str:
        from mlflow import MlflowException
        from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS

        self._call("create_experiment")
        if name in self.experiments:
            raise MlflowException("there", RESOURCE_ALREADY_EXISTS)
        self.experiments.append(name)
        return name

    def create_run(self, experiment_id: str, tags: dict[str, str]) -> SimpleNamespace:
        self._call("create_run")
        run_id = f"run-{len(self.runs)}"
        info = SimpleNamespace(run_id=run_id, start_time=next(self.clock), status="RUNNING", experiment=experiment_id)
        self.runs[run_id] = SimpleNamespace(info=info, tags=dict(tags), params={}, rows=[], files=[])
        return self._seen(self.runs[run_id])

    def search_runs(self, experiment_ids: list[str], filter_string: str) -> list[SimpleNamespace]:
        self._call("search_runs")
        found = re.fullmatch(r"tags\.`(.+)` = '(.+)'", filter_string)
        assert found
        runs = [run for run in self.runs.values() if run.info.experiment in experiment_ids]
        return [self._seen(run) for run in runs if run.tags.get(found[1]) == found[2]]

    def _seen(self, run: SimpleNamespace) -> SimpleNamespace:
        metrics = {row.key: row.value for row in run.rows}
        return SimpleNamespace(
            info=run.info, data=SimpleNamespace(tags=dict(run.tags), params=dict(run.params), metrics=metrics)
        )

    def delete_run(self, run_id: str) -> None:
        self._call("delete_run")
        del self.runs[run_id]

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        self._call("get_metric_history")
        return [row for row in self.runs[run_id].rows if row.key == key]

    def log_batch(self, run_id: str, metrics: Sequence[Any] = (), params: Sequence[Any] = (), tags: Any = ()) -> None:
        self._call("log_batch")
        assert len(metrics) + len(params) + len(tags) > 0
        assert len(metrics) <= 1000
        assert max(len(params), len(tags)) <= 100
        run = self.runs[run_id]
        assert all(run.params.get(param.key, param.value) == param.value for param in params)
        run.params |= {param.key: param.value for param in params}
        run.tags |= {tag.key: tag.value for tag in tags}
        run.rows += metrics
        self._call("log_batch answered")

    def set_tag(self, run_id: str, key: str, value: str) -> None:
        self._call("set_tag")
        self.runs[run_id].tags[key] = value

    def set_terminated(self, run_id: str) -> None:
        self._call("set_terminated")
        self.runs[run_id].info.status = "FINISHED"

    def log_text(self, run_id: str, text: str, name: str) -> None:
        self._call("log_text")
        self.runs[run_id].files.append(name)

    def log_artifact(self, run_id: str, file: str, place: str | None) -> None:
        self._call("log_artifact")
        self.runs[run_id].files.append(file)

    def log_inputs(self, run_id: str, datasets: Sequence[Any]) -> None:
        self._call("log_inputs")

    def steps(self, name: str = "loss") -> list[int]:
        return [row.step for run in self.runs.values() for row in run.rows if row.key == name]


def points(first: int = 0, last: int = STEPS, slower: float = 1.0) -> list[Point]:
    """Points of a stage; `slower`: how long the machine takes."""
    step, tokens, seconds = 1, TOKENS // STEPS, SECONDS / STEPS * slower
    return [Point(i * step, i * tokens, i * seconds, loss=9.0 - i / 10) for i in range(first, last + 1)]


def stored(self: Any, node: Any) -> dict[str, Any]:
    """In place of `Store.result`: the result of any train node."""
    return {"tokens": TOKENS, "seconds": SECONDS}


def result_of(graph: Graph) -> ExperimentResult:
    """The result of a planned experiment, without training anything."""
    config = {"train": {"lr": 0.1}, "model": {"name": "toy"}, "tokens": 1}
    made = results.experiment()
    return dataclasses.replace(
        made, name=graph.experiment.name, runs=[_run(plan) for plan in graph.runs], config=config, tasks=["english"]
    )


def _run(plan: RunPlan) -> RunResult:
    base = results.experiment().runs[0]
    stages = [
        StageResult(s.stage.name, s.node.key, place + 1, place * TOKENS, TOKENS, SECONDS, 0.0, False, points(), {})
        for place, s in enumerate(plan.stages)
    ]
    return dataclasses.replace(base, strategy=plan.strategy.label, seed=plan.seed, key=plan.key, stages=stages)


@contextlib.contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """An HTTP server that treats each request by a function; its URI, with a name and a password."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads, server.block_on_close = True, False
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://me:geheim@127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@contextlib.contextmanager
def stopped() -> Iterator[str]:
    """The URI of a server that takes connections and never answers, as one that was stopped by a signal."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield f"http://me:geheim@127.0.0.1:{server.getsockname()[1]}"


def fails(request: BaseHTTPRequestHandler) -> None:
    """Answer that the server is broken."""
    request.send_error(500)


def slowly(seconds: float, then: Callable[[BaseHTTPRequestHandler], None]) -> Callable[[BaseHTTPRequestHandler], None]:
    """Answer after a while."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        time.sleep(seconds)
        then(request)

    return answer
