"""Log runs to MLflow: a view of the store, delivered from a thread, at most once per row.

The store is the record; MLflow shows it. While a node trains, its points are queued and sent in batches by a
thread, so the step loop never waits. What was delivered is remembered beside the store, by run and node; when a
run is interrupted, or the server is away, the next call delivers the rest to the same MLflow run. The history
of a node that was not trained in this call appears in the run all the same.
"""

from __future__ import annotations

import json
import math
import os
import queue
import re
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cl import collect, measures
from cl.graph import Graph, RunPlan
from cl.node import Node
from cl.results import ExperimentResult, Point, RunResult

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow reads these when it is imported, which only functions below do. A server that is away is noticed in
# seconds instead of minutes: nothing is lost by giving up, for the next call delivers.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")

FLUSH_SECONDS = 2.0
MOST_METRICS = 1000  # in one call of MLflow's log_batch
MOST_PARAMS = 100  # and as many tags
POINTS_AT_ONCE = 20  # sent before it is remembered that they were


@dataclass
class Delivered:
    """What an MLflow run has already got: its id, and by node key the last step whose point was sent."""

    run_id: str
    steps: dict[str, int] = field(default_factory=dict)


class Ledger:
    """Deliveries by run key, in one JSON file per tracking server."""

    def __init__(self, path: Path) -> None:
        self.path = path
        raw = json.loads(path.read_text()) if path.exists() else {}
        self.runs = {key: Delivered(**entry) for key, entry in raw.items()}

    def save(self) -> None:
        """Write at once, so that a crash after this sends nothing twice."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_text(json.dumps({key: vars(entry) for key, entry in self.runs.items()}))
        new.replace(self.path)


def point_metrics(point: Point) -> dict[str, float]:
    """A point of the curve as metrics by name."""
    found: dict[str, float] = {"seconds": point.seconds}
    found |= {name: value for name in ("loss", "lr", "grad_norm") if (value := getattr(point, name)) is not None}
    found |= {f"validation/{name}/loss": value for name, value in point.scores.items()}
    found |= {f"term/{name}": value for name, value in point.terms.items()}
    total = sum(point.seen.values())
    found |= {f"share/{name}": count / total for name, count in point.seen.items() if total}
    return {_name(name): value for name, value in found.items()}


def final_metrics(run: RunResult, retain: list[str]) -> list[tuple[str, float, int]]:
    """R and the formulas over it as (name, value, tokens of the stream)."""
    ends = {stage.row: stage.offset + stage.tokens for stage in run.stages if stage.row is not None}
    found = []
    for t, row in run.matrix.items():
        for name, cell in row.items():
            for measure in ("loss", "bits_per_byte", "perplexity"):
                found.append((f"R/{name}/{measure}", getattr(cell, measure), ends.get(t, 0)))
    last = max(ends.values(), default=0)
    return [*found, *((key, value, last) for key, value in metrics_of(run, retain).items())]


def metrics_of(run: RunResult, retain: list[str]) -> dict[str, float]:
    """Named formulas over the run's loss matrix; MLflow cannot hold a reason, so undefined ones are left out."""
    found = [*measures.every(run, retain).values(), measures.peak(run)]
    return {metric.key: metric.value for metric in found if not math.isnan(metric.value)}


class Tracker:
    """Sends the runs of a graph to an MLflow server.

    uri: MLflow tracking URI; folder: where deliveries are remembered. Nothing raises into the training loop:
    when the server fails, `problem` says so, and what is missing is delivered by the next call.
    """

    def __init__(self, uri: str, folder: Path, graph: Graph, artifacts: str | None) -> None:
        self.uri, self.graph, self.artifacts = uri, graph, artifacts
        self.ledger = Ledger(folder / f"mlflow-{re.sub(r'[^a-zA-Z0-9]+', '-', uri)}.json")
        self.problem = ""
        self.runs_of = {plan.node.key: (run, plan) for run in reversed(graph.runs) for plan in reversed(run.stages)}
        self.rows: queue.Queue[tuple[Node, Point]] = queue.Queue()
        self.waiting: dict[str, list[Point]] = {}  # by node key: not delivered yet
        self.checked: set[str] = set()  # MLflow runs of the ledger that are known to exist still
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._deliver, name="mlflow", daemon=True)
        self.thread.start()

    def point(self, node: Node, point: Point) -> None:
        """Queue a point of a node in progress; returns at once."""
        self.rows.put((node, point))

    def _deliver(self) -> None:
        while not self.stop.wait(FLUSH_SECONDS):
            self._flush()
        if not self.problem:  # else `finish` tries once more
            self._flush()

    def _flush(self) -> None:
        while not self.rows.empty():
            node, point = self.rows.get()
            self.waiting.setdefault(node.key, []).append(point)
        for key in list(self.waiting):
            run, plan = self.runs_of[key]
            try:
                self._send(self._open(run), key, plan.offset, self.waiting[key])
            except Exception as error:  # the store keeps every point: `finish` delivers what is missing
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
        for part in _parts(rows, MOST_METRICS):
            self.client.log_batch(run_id, metrics=part)

    @property
    def client(self) -> MlflowClient:
        """A client of the server; made in the thread that uses it."""
        from mlflow import MlflowClient

        return MlflowClient(self.uri)

    def _open(self, run: RunPlan) -> Delivered:
        """The MLflow run of a run, created when it is first needed and found again afterwards."""
        if not self._known(run.key):
            name = f"{run.strategy.label} seed {run.seed}"
            tags = {"mlflow.runName": name, "cl.run": run.key, "mlflow.parentRunId": self._parent()}
            created = self.client.create_run(self._experiment(), tags=tags)
            self.ledger.runs[run.key] = Delivered(created.info.run_id)
            self.ledger.save()
        return self.ledger.runs[run.key]

    def _parent(self) -> str:
        """The MLflow run of the whole experiment, which holds the report."""
        key = f"experiment:{self.graph.experiment.name}"
        if not self._known(key):
            tags = {"mlflow.runName": f"{self.graph.experiment.name}: all runs"}
            self.ledger.runs[key] = Delivered(self.client.create_run(self._experiment(), tags=tags).info.run_id)
            self.ledger.save()
        return self.ledger.runs[key].run_id

    def _known(self, key: str) -> bool:
        """Whether the ledger has the run and nobody has deleted it from the server since; asked once per call."""
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
        found = self.client.get_experiment_by_name(self.graph.experiment.name)
        if found is not None:
            return str(found.experiment_id)
        return str(self.client.create_experiment(self.graph.experiment.name, artifact_location=self.artifacts))

    def close(self) -> None:
        """Send what is queued and end the thread."""
        self.stop.set()
        self.thread.join()

    def finish(self, result: ExperimentResult, folder: Path) -> None:
        """Deliver everything that is missing: histories, R, metrics, tags, data sets, and the report."""
        self.close()
        self.problem = ""
        for plan, run in zip(self.graph.runs, result.runs, strict=True):
            self._finish_run(plan, run, result)
        self.client.log_artifacts(self._parent(), str(folder))
        self.client.set_terminated(self._parent())

    def _finish_run(self, plan: RunPlan, run: RunResult, result: ExperimentResult) -> None:
        from mlflow.entities import Metric

        delivered = self._open(plan)
        for stage in run.stages:
            self._send(delivered, stage.key, stage.offset, stage.points)
        if delivered.steps.get("complete"):
            return
        self._describe(delivered.run_id, run, result)  # first: said twice, it is still said once
        now = int(time.time() * 1000)
        rows = [Metric(name, value, now, tokens) for name, value, tokens in final_metrics(run, result.retain)]
        self._log(delivered.run_id, rows)
        self.client.set_terminated(delivered.run_id)
        delivered.steps["complete"] = 1
        self.ledger.save()

    def _describe(self, run_id: str, run: RunResult, result: ExperimentResult) -> None:
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
        }
        tags = {
            "cl.scenario_version": result.scenario_version,
            "cl.command": result.command,
            **{f"cl.node.{i}.{s.name}": s.key for i, s in enumerate(run.stages)},
            **{f"cl.row.{t}": key for t, key in run.matrix_keys.items()},
            **{f"cl.data.{name}": entry["fingerprint"] for name, entry in result.data.items()},
            **{f"cl.version.{name}": value for name, value in result.environment.items()},
        }
        for part in _parts([Param(_name(key), str(value)) for key, value in params.items()], MOST_PARAMS):
            self.client.log_batch(run_id, params=part)
        for part in _parts([RunTag(_name(key), str(value)) for key, value in tags.items()], MOST_PARAMS):
            self.client.log_batch(run_id, tags=part)
        self.client.log_text(run_id, collect.matrix_csv(run), "R.csv")
        self.client.log_text(run_id, collect.matrix_json(run), "R.json")
        self._log_datasets(run_id, result)

    def _log_datasets(self, run_id: str, result: ExperimentResult) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs = []
        for name, entry in result.data.items():
            profile = json.dumps({key: entry[key] for key in ("documents", "bytes", "tokens", "overlap")})
            dataset = Dataset(
                name=name,
                digest=entry["fingerprint"][:36],
                source_type="cl",
                source=json.dumps({"sources": entry["sources"], "licence": entry["licence"]}),
                profile=profile,
            )
            context = "training" if name in result.tasks else "evaluation"
            inputs.append(DatasetInput(dataset, [InputTag("mlflow.data.context", context)]))
        self.client.log_inputs(run_id, datasets=inputs)


def numbered(methods: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Settings by method name; a method that a strategy lists again is `NAME.2`."""
    found: dict[str, Any] = {}
    for name, settings in (pair for entry in methods for pair in entry.items()):
        again = sum(other.split(".")[0] == name for other in found)
        found[f"{name}.{again + 1}" if again else name] = settings
    return found


def _name(text: str) -> str:
    """Text as MLflow takes it for the name of a metric, parameter or tag."""
    return re.sub(r"[^\w\-. /]", "_", text)


def _parts(rows: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    return (rows[start : start + most] for start in range(0, len(rows), most))


def flat(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in nested.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return found
