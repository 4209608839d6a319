"""Log runs to MLflow: a view of the store, sent by a thread, each point at most once.

The store is the record; MLflow shows it. While a node trains, its points are queued and sent in batches by a thread, so
the step loop never waits. Sent points are remembered in a file next to the store, by run and node. If a run is
interrupted or the server is unavailable, the next call sends the rest to the same MLflow run, including the history of
nodes that an earlier call trained.
"""

from __future__ import annotations

import json
import os
import queue
import re
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl.config.nested import flat
from cl.execution import collect
from cl.execution.store import Store
from cl.graph.node import Node
from cl.graph.run_plan import RunPlan
from cl.metrics.records import ExperimentResult, Point, RunResult
from cl.reporting.mlflow_values import (
    Delivered,
    Deliveries,
    final_metrics,
    numbered,
    point_metrics,
    safe_name,
    tuned_values,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow reads these variables on import, and only functions below import it. An unavailable server is noticed in
# seconds instead of minutes; giving up loses nothing, because the next call sends what is missing.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

FLUSH_SECONDS = 2.0
MOST_METRICS = 1000  # metrics in one call of MLflow's log_batch
MOST_PARAMS = 100  # parameters, or tags, in one call
POINTS_AT_ONCE = 20  # points sent before the ledger is saved


class Tracker:
    """Sends the runs of a graph to an MLflow server.

    No error of the server reaches the training loop: `problem` holds its message, and the next call sends what is
    missing.

    Args:
        uri: MLflow tracking URI.
        folder: folder of the file that remembers deliveries.
        experiment: name of the experiment.
        runs: its planned runs; none where only figures that belong to no run are sent.
        store: the store.
        artifacts: location of artifacts for a new MLflow experiment; None for the server's default.
    """

    def __init__(
        self, uri: str, folder: Path, experiment: str, runs: Sequence[RunPlan], store: Store, artifacts: str | None
    ) -> None:
        self.uri, self.experiment, self.runs, self.store, self.artifacts = uri, experiment, runs, store, artifacts
        self.ledger = Deliveries(folder / f"mlflow-{re.sub(r'[^a-zA-Z0-9]+', '-', uri)}.json")
        self.problem = ""
        self.runs_of = {plan.node.key: (run, plan) for run in reversed(runs) for plan in reversed(run.stages)}
        self.rows: queue.Queue[tuple[Node, Point]] = queue.Queue()
        self.waiting: dict[str, list[Point]] = {}  # points not delivered yet, by node key
        self.checked: set[str] = set()  # keys of runs whose MLflow run was found to exist
        self.connected, self.stop = threading.Event(), threading.Event()
        _import_mlflow()
        self.thread = threading.Thread(target=self._deliver, name="mlflow", daemon=True)
        self.thread.start()

    def point(self, node: Node, point: Point) -> None:
        """Queue a point of a node in progress; returns at once."""
        self.rows.put((node, point))

    def _deliver(self) -> None:
        """The thread: connect, then send queued points every FLUSH_SECONDS."""
        self._connect()
        while not self.stop.wait(FLUSH_SECONDS):
            self._flush()
        if not self.problem:  # otherwise `finish` tries once more
            self._flush()

    def _connect(self) -> None:
        """Create MLflow's tables while data are prepared, so that no step waits for them.

        A new SQLite file is created under another name first: a half-created database could never be opened.
        """
        try:
            file = Path(self.uri.removeprefix("sqlite:///"))
            if self.uri.startswith("sqlite:///") and not file.exists():
                _make_database(file)
            self.client.search_experiments(max_results=1)
        except Exception as error:  # `_flush` tries again
            self.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        self.connected.set()

    def _flush(self) -> None:
        """Send all queued points; on an error set `problem` and keep the points."""
        while not self.rows.empty():
            node, point = self.rows.get()
            self.waiting.setdefault(node.key, []).append(point)
        for key in list(self.waiting):
            run, plan = self.runs_of[key]
            try:
                self._send(self._open(run), key, collect.offset(run, plan, self.store), self.waiting[key])
            except Exception as error:  # the store keeps every point, and `finish` sends the rest
                self.problem = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                return
            del self.waiting[key]
            self.problem = ""

    def _send(self, delivered: Delivered, key: str, offset: int, points: Iterable[Point]) -> None:
        """Send the points after the last one that was delivered."""
        from mlflow.entities import Metric

        last = delivered.steps.get(key, -1)
        now = int(time.time() * 1000)
        for part in _parts([point for point in points if point.step > last], POINTS_AT_ONCE):
            rows = [Metric(n, value, now, offset + p.tokens) for p in part for n, value in point_metrics(p).items()]
            self._log(delivered.run_id, rows)
            delivered.steps[key] = part[-1].step
            self.ledger.save()

    def _log(self, run_id: str, rows: list[Any]) -> None:
        """Send metrics in calls of at most MOST_METRICS."""
        for part in _parts(rows, MOST_METRICS):
            self.client.log_batch(run_id, metrics=part)

    @property
    def client(self) -> MlflowClient:
        """A client of the server, created in the thread that uses it."""
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def _open(self, run: RunPlan) -> Delivered:
        """The MLflow run of a run; created on first use."""
        if not self._known(run.key):
            name = f"{run.strategy.label} seed {run.seed}"
            tags = {"mlflow.runName": name, "cl.run": run.key, "mlflow.parentRunId": self._parent()}
            created = self.client.create_run(self._experiment(), tags=tags)
            self.ledger.runs[run.key] = Delivered(created.info.run_id)
            self.ledger.save()
        return self.ledger.runs[run.key]

    def _parent(self) -> str:
        """The MLflow run of the whole experiment, which holds the report."""
        key = f"experiment:{self.experiment}"
        if not self._known(key):
            tags = {"mlflow.runName": f"{self.experiment}: all runs"}
            self.ledger.runs[key] = Delivered(self.client.create_run(self._experiment(), tags=tags).info.run_id)
            self.ledger.save()
        return self.ledger.runs[key].run_id

    def _known(self, key: str) -> bool:
        """Whether the ledger has the run and the server still has it; asked once per call."""
        from mlflow import MlflowException

        if key in self.ledger.runs and key not in self.checked:
            try:
                if self.client.get_run(self.ledger.runs[key].run_id).info.lifecycle_stage != "active":
                    del self.ledger.runs[key]
            except MlflowException as error:
                if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                    raise
                del self.ledger.runs[key]
        self.checked.add(key)
        return key in self.ledger.runs

    def _experiment(self) -> str:
        """Id of the MLflow experiment; created on first use."""
        found = self.client.get_experiment_by_name(self.experiment)
        if found is not None:
            return str(found.experiment_id)
        kind = {"mlflow.experimentKind": "custom_model_development"}  # its page opens on the runs, not on chat traces
        name = self.experiment
        return str(self.client.create_experiment(name, artifact_location=self.artifacts, tags=kind))

    def close(self) -> None:
        """Send queued points and end the thread."""
        self.stop.set()
        self.thread.join()

    def finish(self, result: ExperimentResult, folder: Path) -> None:
        """Send everything that is missing: histories, R, metrics, tags, data sets and the report."""
        self.close()
        self.problem = ""
        for plan, run in zip(self.runs, result.runs, strict=True):
            self._finish_run(plan, run, result)
        self.client.log_artifacts(self._parent(), str(folder))
        self.client.set_terminated(self._parent())

    def beside(
        self, name: str, key: str, params: dict[str, Any], metrics: dict[str, float], files: Sequence[Path]
    ) -> None:
        """Send a result that belongs to no single run (such as an order node's) as an MLflow run of its own, once.

        Args:
            name: name of the MLflow run.
            key: key of the node.
            params: parameters.
            metrics: metrics.
            files: files to upload.
        """
        self.close()  # before any import: MLflow's circular imports fail in two threads at once
        from mlflow.entities import Metric, Param

        self.problem = ""
        if not self._known(key):
            tags = {"mlflow.runName": name, "cl.node": key, "mlflow.parentRunId": self._parent()}
            self.ledger.runs[key] = Delivered(self.client.create_run(self._experiment(), tags=tags).info.run_id)
        delivered = self.ledger.runs[key]
        if delivered.steps.get("complete"):
            return
        now = int(time.time() * 1000)
        self.client.log_batch(
            delivered.run_id,
            metrics=[Metric(safe_name(metric), value, now, 0) for metric, value in metrics.items()],
            params=[Param(safe_name(param), str(value)) for param, value in params.items()],
        )
        for file in files:
            self.client.log_artifact(delivered.run_id, str(file))
        self.client.set_terminated(delivered.run_id)
        delivered.steps["complete"] = 1
        self.ledger.save()

    def _finish_run(self, plan: RunPlan, run: RunResult, result: ExperimentResult) -> None:
        """Send the missing points, parameters, tags and final metrics of one run."""
        from mlflow.entities import Metric

        delivered = self._open(plan)
        for stage in run.stages:
            self._send(delivered, stage.key, stage.offset, stage.points)
        if delivered.steps.get("complete"):
            return
        self._describe(delivered.run_id, run, result)  # first, because sending it twice changes nothing
        now = int(time.time() * 1000)
        rows = [Metric(name, value, now, tokens) for name, value, tokens in final_metrics(run, result.retain)]
        self._log(delivered.run_id, rows)
        self.client.set_terminated(delivered.run_id)
        delivered.steps["complete"] = 1
        self.ledger.save()

    def _describe(self, run_id: str, run: RunResult, result: ExperimentResult) -> None:
        """Send parameters, tags, R and data sets of one run."""
        from mlflow.entities import Param, RunTag

        settings = flat(
            {
                "methods": numbered(run.settings),
                "train": result.config["train"],
                "model": result.config["model"],
                "tokens": result.config["tokens"],
            }
        )
        params = {
            "strategy": run.strategy,
            "seed": run.seed,
            "order": ",".join(run.order),
            "scenario": result.scenario,
            **settings,
            **tuned_values(run, result),
        }
        tags = {
            **{f"cl.note.{i}": note for i, note in enumerate(result.notes)},
            "cl.scenario_version": result.scenario_version,
            "cl.command": result.command,
            **{f"cl.node.{i}.{s.name}": s.key for i, s in enumerate(run.stages)},
            **{f"cl.row.{t}": key for t, key in run.matrix_keys.items()},
            **{f"cl.data.{name}": entry.fingerprint for name, entry in result.data.items()},
            **{f"cl.version.{name}": value for name, value in result.environment.items()},
        }
        for part in _parts([Param(safe_name(key), str(value)) for key, value in params.items()], MOST_PARAMS):
            self.client.log_batch(run_id, params=part)
        for part in _parts([RunTag(safe_name(key), str(value)) for key, value in tags.items()], MOST_PARAMS):
            self.client.log_batch(run_id, tags=part)
        self.client.log_text(run_id, collect.matrix_csv(run), "R.csv")
        self.client.log_text(run_id, collect.matrix_json(run), "R.json")
        self._log_datasets(run_id, result)

    def _log_datasets(self, run_id: str, result: ExperimentResult) -> None:
        """Send the data sets of the experiment as inputs of a run."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = []
        for name, entry in result.data.items():
            profile = json.dumps({key: getattr(entry, key) for key in ("documents", "bytes", "tokens", "overlap")})
            dataset = Dataset(
                name=name,
                digest=entry.fingerprint[:36],
                source_type="cl",
                source=json.dumps({"sources": entry.sources, "licence": entry.licence}),
                profile=profile,
            )
            context = "training" if name in result.tasks else "evaluation"
            inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
        self.client.log_inputs(run_id, datasets=inputs)


def _import_mlflow() -> None:
    """Import MLflow with its libraries before a second thread exists.

    MLflow and the libraries that compute nodes both import SciPy, and two threads that import it at once break it.
    """
    import mlflow.entities
    import mlflow.store.tracking.rest_store
    import mlflow.store.tracking.sqlalchemy_store  # noqa: F401


def _make_database(file: Path) -> None:
    """Create MLflow's tables in a new SQLite file, which appears complete or not at all."""
    from mlflow import MlflowClient

    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".mlflow-") as folder:
        new = Path(folder) / file.name
        MlflowClient(f"sqlite:///{new}").search_experiments(max_results=1)
        try:
            os.link(new, file)
        except FileExistsError:  # another process was faster
            pass
        except OSError:  # a file system without hard links
            new.replace(file)


def _parts(rows: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    """Slices of at most `most` rows."""
    return (rows[start : start + most] for start in range(0, len(rows), most))
