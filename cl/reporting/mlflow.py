"""Log runs to MLflow: a view of the store, sent by a thread, each point once.

The store is the record; MLflow shows it. While a node trains, its points are queued and sent in batches by a thread, so
the step loop never waits. What is missing is sent at the end, to the same MLflow runs, including the history of nodes
that an earlier call trained. If a run is interrupted or the server does not answer, the next call sends the rest; what
is there already is asked of the server (`cl.reporting.mlflow_runs`).
"""

from __future__ import annotations

import json
import os
import queue
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cl.execution import collect, result_files
from cl.execution.store import Store
from cl.graph.node import Node
from cl.graph.run_plan import RunPlan, StagePlan
from cl.metrics.records import ExperimentResult, Point, RunResult
from cl.redaction import redacted
from cl.reporting.mlflow_runs import MlflowRun, MlflowRuns
from cl.reporting.mlflow_values import Beside, final_metrics, run_params, run_tags

# MLflow reads these variables on import, and only functions below import it. An unavailable server is noticed in
# seconds instead of minutes; giving up loses nothing, because the next call sends what is missing.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

FLUSH_SECONDS = 2.0
WAKING_SECONDS = 3.0  # for the thread to go on after it slept, and for the last points after an interruption
FILE_SECONDS = 120.0  # a file is never away, but making MLflow's tables takes a busy machine long


class Tracker:
    """Sends the runs of a graph to an MLflow server.

    No error of the server is raised, and no answer is awaited for longer than MLFLOW_HTTP_REQUEST_TIMEOUT: `problem`
    then holds a message, and the next call of `cl` sends what is missing.

    Args:
        uri: MLflow tracking URI.
        experiment: name of the experiment.
        runs: its planned runs; none where only results that belong to no run are sent.
        store: the store.
        artifacts: location of artifacts for a new MLflow experiment; None for the server's default.
    """

    def __init__(self, uri: str, experiment: str, runs: Sequence[RunPlan], store: Store, artifacts: str | None) -> None:
        self.shown, self.experiment, self.runs, self.store = redacted(uri), experiment, runs, store
        self.server = MlflowRuns(uri, experiment, artifacts)
        remote = "://" in uri and not uri.startswith(("sqlite", "file:"))
        self.patience = float(os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"]) if remote else FILE_SECONDS
        self.problem = ""
        self.runs_of = {plan.node.key: (run, plan) for run in reversed(runs) for plan in reversed(run.stages)}
        self.rows: queue.Queue[tuple[Node, Point]] = queue.Queue()
        self.waiting: dict[str, list[Point]] = {}  # points that are not sent yet, by node key
        self.connected, self.stop = threading.Event(), threading.Event()
        _import_mlflow()
        self.thread = threading.Thread(target=self._live, name="mlflow", daemon=True)
        self.thread.start()

    def point(self, node: Node, point: Point) -> None:
        """Queue a point of a node in progress; returns at once."""
        self.rows.put((node, point))

    def close(self, patience: float | None = None) -> None:
        """Send queued points and end the thread.

        Args:
            patience: seconds for an answer of the server; by default those of the tracker.
        """
        if not self.stop.is_set():
            self.stop.set()
            self._wait(self.thread, self.patience if patience is None else patience)

    def finish(self, result: ExperimentResult, folder: Path) -> None:
        """Send everything that is missing: histories, R, metrics, tags, data sets and the report.

        Args:
            result: the result; runs may be missing in it that could not be completed.
            folder: folder of the report.
        """

        def work() -> None:
            """Send all runs and files."""
            plans = {(plan.strategy.label, plan.key): plan for plan in self.runs}
            for run in result.runs:
                with self.server.alone():
                    self._send_run(plans[run.strategy, run.key], run, result)
            with self.server.alone():
                parent = self._parent()
                self.server.send_files(parent, folder, sorted(file for file in folder.rglob("*") if file.is_file()))
                self.server.complete(parent)

        self._at_end(work)

    def beside(self, results: Sequence[Beside]) -> None:
        """Send results that belong to no single run, each as an MLflow run of its own, once."""

        def work() -> None:
            """Send all results."""
            for each in results:
                with self.server.alone():
                    self._send_beside(each)

        self._at_end(work)

    def _live(self) -> None:
        """The thread: connect while data are prepared, then send queued points every FLUSH_SECONDS."""
        self._try(self.server.connect)
        self.connected.set()
        while not self.stop.wait(FLUSH_SECONDS):
            self._try(self._flush)
        if not self.problem:  # otherwise `finish` tries once more
            self._try(self._flush)

    def _try(self, work: Callable[[], None]) -> None:
        """Do something on the server; on an error set `problem`. The store keeps every point."""
        try:
            work()
        except Exception as error:
            self.problem = f"{type(error).__name__}: {' '.join(redacted(str(error)).split())[:200]}"
        else:
            self.problem = ""

    def _at_end(self, work: Callable[[], None]) -> None:
        """Do the last work on the server in a thread, as long as the server answers.

        Only one thread at a time may import parts of MLflow: its modules import each other in a circle.
        """
        self.close()
        if self.server.given_up:
            return
        self.server.opened.clear()  # other machines may have written since
        last = threading.Thread(target=self._try, args=(work,), name="mlflow at the end", daemon=True)
        last.start()
        self._wait(last, self.patience)

    def _wait(self, thread: threading.Thread, patience: float) -> None:
        """Wait for a thread; give up when the server leaves a call without an answer for `patience` seconds."""
        began = time.monotonic()
        while thread.is_alive():
            left = max(began + WAKING_SECONDS, self.server.asked + patience) - time.monotonic()
            if left <= 0:
                self.server.given_up = True
                self.problem = f"no answer within {max(patience, WAKING_SECONDS):g} seconds"
                return
            thread.join(left)

    def _flush(self) -> None:
        """Send all queued points; on an error keep them."""
        while not self.rows.empty():
            node, point = self.rows.get()
            self.waiting.setdefault(node.key, []).append(point)
        for key in list(self.waiting):
            run, plan = self.runs_of[key]
            with self.server.alone():
                self._send_stage(self._open(run), run, plan, self.waiting[key])
            del self.waiting[key]

    def _send_stage(self, found: MlflowRun, run: RunPlan, plan: StagePlan, points: Sequence[Point]) -> None:
        """Send points of a stage."""
        tokens, seconds = collect.offset(run, plan, self.store), _seconds_before(plan, self.store)
        self.server.send_points(found, 1 + run.stages.index(plan), tokens, seconds, points)

    def _open(self, run: RunPlan) -> MlflowRun:
        """The MLflow run of a run."""
        name = f"{run.strategy.label} seed {run.seed}"
        return self.server.open("cl.run", run.key, name, self._parent().run_id)

    def _parent(self) -> MlflowRun:
        """The MLflow run of the whole experiment, which holds the report."""
        return self.server.open("cl.experiment", self.experiment, f"{self.experiment}: all runs")

    def _send_run(self, plan: RunPlan, run: RunResult, result: ExperimentResult) -> None:
        """Send what is missing of a run: points, parameters, tags, R, data sets and final metrics."""
        found = self._open(plan)
        if found.complete:
            return
        for stage, stored in zip(plan.stages, run.stages, strict=True):
            self._send_stage(found, plan, stage, stored.points)
        self.server.describe(found, run_params(run, result), run_tags(run, result))
        self.server.client.log_text(found.run_id, result_files.matrix_csv(run), "R.csv")
        self.server.client.log_text(found.run_id, result_files.matrix_json(run), "R.json")
        self._send_datasets(found, result)
        self.server.send_metrics(found, final_metrics(run, result.retain))
        self.server.complete(found)

    def _send_datasets(self, found: MlflowRun, result: ExperimentResult) -> None:
        """Send the data sets of the experiment as inputs of a run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = []
        for name, entry in result.data.items():
            profile = json.dumps({key: getattr(entry, key) for key in ("documents", "bytes", "tokens", "overlap")})
            source = json.dumps({"sources": entry.sources, "licence": entry.licence})
            dataset = Dataset(name, entry.fingerprint[:36], source_type="cl", source=source, profile=profile)
            context = "training" if name in result.tasks else "evaluation"
            inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
        self.server.client.log_inputs(found.run_id, datasets=inputs)

    def _send_beside(self, each: Beside) -> None:
        """Send what is missing of a result that belongs to no single run."""
        found = self.server.open("cl.node", each.key, each.name, self._parent().run_id)
        if found.complete:
            return
        self.server.describe(found, each.params, {})
        self.server.send_metrics(found, [(name, value, 0) for name, value in each.metrics.items()])
        for file in each.files:
            self.server.send_files(found, file.parent, [file])
        self.server.complete(found)


def _seconds_before(plan: StagePlan, store: Store) -> float:
    """Seconds of training of a stage's ancestors, which must be stored."""
    if plan.parent is None:
        return 0.0
    return _seconds_before(plan.parent, store) + float(store.result(plan.parent.node)["seconds"])


def _import_mlflow() -> None:
    """Import MLflow with its libraries before a second thread exists.

    MLflow and the libraries that compute nodes both import SciPy, and two threads that import it at once break it.
    """
    import mlflow.entities
    import mlflow.store.tracking.rest_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401
