"""The MLflow runs of one experiment: found on the server by a tag, and written so that every call can be repeated.

Nothing is remembered on a disk: the server says which runs, points and parameters it has, before anything is sent. Of a
point, the metric `stage` is written last; so a point with its stage is complete, and it is not sent again.
Times are computed from the start of the MLflow run and the stored seconds of training, so a row that is sent twice
after all is one row in the tables of MLflow.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from cl.execution import machine
from cl.hashing import digest
from cl.metrics.records import Point
from cl.redaction import redacted
from cl.reporting import mlflow_database
from cl.reporting.mlflow_values import point_metrics, safe_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MOST_METRICS = 1000  # metrics in one call of MLflow's log_batch
MOST_PARAMS = 100  # parameters, or tags, in one call
STAGE = "stage"  # metric: place of a point's stage in its run, from 1
COMPLETE = "cl.complete"  # tag: everything was sent


@dataclass
class MlflowRun:
    """A run as the server has it.

    Args:
        run_id: its id.
        start: when it was made, in ms.
        metrics: names of its metrics.
        params: names of its parameters.
        complete: whether everything was sent.
        points: (place of the stage, tokens of the stream) of its points, where they were asked for.
    """

    run_id: str
    start: int
    metrics: set[str]
    params: set[str]
    complete: bool
    points: set[tuple[int, int]] | None = None


class MlflowRuns:
    """The runs of an experiment on a server. Any call raises what MLflow raises.

    Args:
        uri: MLflow tracking URI.
        experiment: name of the experiment.
        artifacts: location of artifacts for a new MLflow experiment; None for the server's default.
    """

    def __init__(self, uri: str, experiment: str, artifacts: str | None) -> None:
        self.uri, self.experiment, self.artifacts = uri, experiment, artifacts
        self.asked = time.monotonic()  # when the newest call began
        self.given_up = False  # nobody waits for an answer any more
        self.connected = False
        self.name = uuid.uuid4().hex  # among the processes that write
        self.opened: dict[tuple[str, str, str], MlflowRun] = {}
        self.lock = machine.cache_folder() / "mlflow" / f"{digest([redacted(uri), experiment])}.lock"

    @property
    def client(self) -> MlflowClient:
        """A client of the server for one call, in the thread that calls."""
        from mlflow import MlflowClient

        if self.given_up:
            raise TimeoutError("given up")
        self.asked = time.monotonic()
        return MlflowClient(self.uri)

    def connect(self) -> None:
        """Make the tables of a new SQLite file, and ask the server for anything."""
        self.asked = time.monotonic()
        mlflow_database.prepare(self.uri)
        self.client.search_experiments(max_results=1)
        self.connected = True

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Context in which no other process of this machine and user writes to the experiment.

        What the server has is asked anew if another process has written since the last context.
        """
        self.lock.parent.mkdir(parents=True, exist_ok=True)
        newest = self.lock.with_suffix(".newest")  # who wrote last
        with FileLock(self.lock):
            if not newest.exists() or newest.read_text() != self.name:
                self.opened.clear()
                newest.write_text(self.name)
            if not self.connected:
                self.connect()
            try:
                yield
            except BaseException:
                self.opened.clear()  # what the server has now is unknown
                raise

    def open(self, tag: str, key: str, name: str, parent: str | None = None) -> MlflowRun:
        """Find a run by its tag, or make it.

        Two machines may make it at once. Of several runs, all take the one that began first, and delete the others.

        Args:
            tag: name of the tag.
            key: value of the tag.
            name: name of the run; runs with one key and several names are several runs.
            parent: id of the run above it.
        """
        if (tag, key, name) not in self.opened:
            experiment = self._experiment()
            found = self._search(experiment, tag, key, name)
            if not found:
                above = {} if parent is None else {"mlflow.parentRunId": parent}
                self.client.create_run(experiment, tags={"mlflow.runName": name, tag: key, "cl.name": name, **above})
                found = self._search(experiment, tag, key, name)
            for extra in found[1:]:
                self.client.delete_run(extra.info.run_id)
            self.opened[tag, key, name] = _as_found(found[0])
        return self.opened[tag, key, name]

    def _search(self, experiment: str, tag: str, key: str, name: str) -> list[Run]:
        """Runs with a tag, the first one first. Runs of earlier versions of `cl` have no tag `cl.name`."""
        found = self.client.search_runs([experiment], filter_string=f"tags.`{tag}` = '{key}'")
        mine = [run for run in found if run.data.tags.get("cl.name", name) == name]
        return sorted(mine, key=lambda run: (run.info.start_time, run.info.run_id))

    def _experiment(self) -> str:
        """Id of the MLflow experiment; created on first use."""
        from mlflow import MlflowException

        found = self.client.get_experiment_by_name(self.experiment)
        if found is None:
            kind = {"mlflow.experimentKind": "custom_model_development"}  # its page opens on the runs, not on traces
            try:
                return str(self.client.create_experiment(self.experiment, self.artifacts, kind))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
                found = self.client.get_experiment_by_name(self.experiment)  # another machine was faster
                assert found is not None
        return str(found.experiment_id)

    def send_points(self, run: MlflowRun, stage: int, tokens: int, seconds: float, points: Iterable[Point]) -> None:
        """Send the points of a stage that the run does not have.

        Args:
            run: the run.
            stage: place of the stage in the run, from 1.
            tokens: tokens of the stream before the stage.
            seconds: seconds of training before the stage.
            points: points of the stage.
        """
        from mlflow.entities import Metric

        if run.points is None:
            run.points = self._points(run)
        missing = [p for p in points if not {(stage, tokens + p.tokens), (0, tokens + p.tokens)} & run.points]
        rows = []
        for point in missing:
            at = run.start + round(1000 * (seconds + point.seconds))
            values = {**point_metrics(point), STAGE: float(stage)}
            rows += [Metric(name, value, at, tokens + point.tokens) for name, value in values.items()]
        self._log(run, rows)
        run.points |= {(stage, tokens + point.tokens) for point in missing}

    def _points(self, run: MlflowRun) -> set[tuple[int, int]]:
        """(stage, tokens) of the points that a run has; stage 0 for points of earlier versions, which name no stage."""
        found = {(int(row.value), row.step) for row in self._history(run, STAGE)}
        named = {step for _, step in found}
        return found | {(0, row.step) for row in self._history(run, "seconds") if row.step not in named}

    def _history(self, run: MlflowRun, name: str) -> list[Any]:
        """All rows of a metric."""
        return self.client.get_metric_history(run.run_id, name) if name in run.metrics else []

    def send_metrics(self, run: MlflowRun, values: Iterable[tuple[str, float, int]]) -> None:
        """Send metrics as (name, value, step) that are written once; those that the run has are left out."""
        from mlflow.entities import Metric

        rows = [Metric(safe_name(name), value, run.start, step) for name, value, step in values]
        there = {(name, row.step) for name in {row.key for row in rows} for row in self._history(run, name)}
        self._log(run, [row for row in rows if (row.key, row.step) not in there])

    def _log(self, run: MlflowRun, rows: list[Any]) -> None:
        """Send metrics in calls of at most MOST_METRICS."""
        for part in _parts(rows, MOST_METRICS):
            self.client.log_batch(run.run_id, metrics=part)
            run.metrics |= {row.key for row in part}

    def describe(self, run: MlflowRun, params: Mapping[str, Any], tags: Mapping[str, Any]) -> None:
        """Send parameters, which MLflow never changes once they are there, and tags."""
        from mlflow.entities import Param, RunTag

        new = [Param(safe_name(k), str(value)) for k, value in params.items() if safe_name(k) not in run.params]
        for part in _parts(new, MOST_PARAMS):
            self.client.log_batch(run.run_id, params=part)
        for part in _parts([RunTag(safe_name(key), str(value)) for key, value in tags.items()], MOST_PARAMS):
            self.client.log_batch(run.run_id, tags=part)

    def send_files(self, run: MlflowRun, folder: Path, files: Iterable[Path]) -> None:
        """Send files under their paths in a folder, one call each, so that an answer is seen after each."""
        for file in files:
            place = file.relative_to(folder).parent.as_posix()
            self.client.log_artifact(run.run_id, str(file), None if place == "." else place)

    def complete(self, run: MlflowRun) -> None:
        """End a run to which everything was sent."""
        self.client.set_terminated(run.run_id)
        self.client.set_tag(run.run_id, COMPLETE, "true")
        run.complete = True


def _as_found(run: Run) -> MlflowRun:
    """What matters of a run that the server has told."""
    data = run.data
    return MlflowRun(run.info.run_id, run.info.start_time, set(data.metrics), set(data.params), COMPLETE in data.tags)


def _parts(rows: Sequence[Any], most: int) -> Iterator[Sequence[Any]]:
    """Slices of at most `most` rows."""
    return (rows[start : start + most] for start in range(0, len(rows), most))
