"""Nothing is lost and nothing is told twice: other processes, kills, servers that hang, places that cannot be written.

What is sent to is a real MLflow with a SQLite file, or a server that answers badly; the results are fabricated.
"""

from __future__ import annotations

import contextlib
import functools
import resource
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cl import cli
from cl.commands.shared import tracker_of
from cl.execution.store import Store
from cl.metrics.records import ExperimentResult
from cl.reporting.mlflow import Tracker
from cl.reporting.mlflow_database import prepare, uri_of
from cl.reporting.mlflow_runs import MlflowRuns
from tests.support.mlflow_server import answering, fails, points, result_of, slowly, stopped, stored
from tests.support.training import plan, results, start, write_toy

# MLflow's own calls of what its dependencies deprecate.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with MLflow's tables, which take seconds to make."""
    file = tmp_path_factory.mktemp("tables") / "mlflow.db"
    prepare(uri_of(file))
    return file


class Place:
    """An experiment of two strategies that share their first stage, and an MLflow in a SQLite file."""

    def __init__(self, folder: Path, tables: Path, **changes: Any) -> None:
        self.folder = folder
        write_toy(folder / "toy", strategies={"finetune": None, "rewarm": None}, **changes)
        self.graph, self.store = plan(folder / "toy")
        self.uri = uri_of(folder / "server.db")
        shutil.copyfile(tables, folder / "server.db")
        self.report = folder / "report"
        self.report.mkdir()
        (self.report / "report.html").write_text("report")

    def tracker(self, uri: str | None = None, name: str = "toyexp", store: Store | None = None) -> Tracker:
        artifacts = (self.folder / "artifacts").as_uri()
        return Tracker(uri or self.uri, name, self.graph.runs, store or self.store, artifacts)

    @property
    def result(self) -> ExperimentResult:
        return result_of(self.graph)

    def deliver(self, **changes: Any) -> str:
        """What one `cl run` does; returns the problem."""
        tracker = self.tracker(**changes)
        for node in {stage.node.key: stage.node for run in self.graph.runs for stage in run.stages}.values():
            for point in points():
                tracker.point(node, point)
        tracker.finish(self.result, self.report)
        return tracker.problem

    def check(self, name: str = "toyexp") -> None:
        """Each run is there once and finished, each point in it once."""
        from mlflow import MlflowClient

        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(name)
        assert experiment is not None
        runs = client.search_runs([experiment.experiment_id])
        names = [f"{name}: all runs", "finetune seed 0", "rewarm seed 0"]
        assert sorted(run.info.run_name for run in runs) == sorted(names)
        assert {run.info.status for run in runs} == {"FINISHED"}
        expected = [float(point.loss or 0) for point in points()]
        for run in runs:
            if "cl.run" in run.data.tags:
                history = client.get_metric_history(run.info.run_id, "loss")
                assert [row.value for row in sorted(history, key=lambda row: row.timestamp)] == 2 * expected
                assert run.data.params["train.lr"] == "0.1"
                final = client.get_metric_history(run.info.run_id, "R/german/loss")
                assert len(final) == len({row.step for row in final}) > 1


@pytest.fixture
def place(tmp_path: Path, tables: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    monkeypatch.setattr(Store, "result", stored)
    monkeypatch.setattr("cl.reporting.mlflow.FLUSH_SECONDS", 0.05)
    return Place(tmp_path, tables)


def at_once(*work: Callable[[], Any]) -> list[Any]:
    """Call functions in threads that begin together."""
    barrier, found = threading.Barrier(len(work)), []

    def call(one: Callable[[], Any]) -> None:
        barrier.wait()
        found.append(one())

    threads = [threading.Thread(target=call, args=(one,)) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def test_processes_that_write_at_once_make_one_run_of_each_and_no_point_twice(place: Place) -> None:
    assert at_once(*[place.deliver] * 3) == ["", "", ""]
    place.check()


def test_stores_that_compute_the_same_at_once_make_one_run_of_each(place: Place) -> None:
    other = Store(place.folder / "other")
    assert at_once(place.deliver, lambda: place.deliver(store=other)) == ["", ""]
    place.check()


def test_machines_that_share_no_lock_agree_on_one_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MlflowRuns, "alone", without_lock)
    at_once(*[place.deliver] * 2)
    monkeypatch.undo()
    monkeypatch.setattr(Store, "result", stored)
    assert place.deliver() == ""
    place.check()


@contextlib.contextmanager
def without_lock(self: MlflowRuns) -> Iterator[None]:
    self.opened.clear()
    yield


@pytest.mark.parametrize("call", range(1, 30, 4))
def test_a_kill_after_any_call_doubles_nothing(place: Place, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from mlflow import MlflowClient

    class Killed(BaseException):
        pass

    class Dying:
        """A client whose process dies when the server has done a call, before anything is remembered of it."""

        def __init__(self, uri: str) -> None:
            self.inner = MlflowClient(uri)

        def __getattr__(self, name: str) -> Any:
            def called(*args: Any, **named: Any) -> Any:
                found = getattr(self.inner, name)(*args, **named)
                left.append(name)
                if len(left) >= call:
                    raise Killed
                return found

            return called

    left: list[str] = []
    with monkeypatch.context() as patch:
        patch.setattr(MlflowRuns, "client", property(lambda self: Dying(self.uri)))
        patch.setattr(threading, "excepthook", lambda _: None)
        place.deliver()
    assert len(left) >= call
    assert place.deliver() == ""
    place.check()


def test_a_renamed_store_delivers_nothing_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    assert place.deliver() == ""
    from mlflow import MlflowClient

    sent: list[Any] = []
    monkeypatch.setattr(MlflowClient, "log_batch", lambda *args, **named: sent.append(named))
    assert place.deliver(store=Store(place.folder / "renamed")) == ""
    assert sent == []
    place.check()


def test_a_later_experiment_has_the_runs_that_it_shares_with_an_earlier_one(place: Place) -> None:
    assert place.deliver() == ""
    assert place.deliver(name="later") == ""
    place.check()
    place.check("later")


def test_what_an_earlier_version_remembered_is_not_read(place: Place) -> None:
    folder = place.store.scratch / "tracking"
    folder.mkdir(parents=True)
    (folder / "mlflow-sqlite-server-db.json").write_text("{damaged")
    assert place.deliver() == ""
    place.check()


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setattr("cl.reporting.mlflow.WAKING_SECONDS", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs_costs_seconds_at_the_end_and_gets_everything_later(place: Place) -> None:
    with stopped() as uri:
        began = time.monotonic()
        problem = place.deliver(uri=uri)
        assert time.monotonic() - began < 5
    assert problem == "no answer within 1 seconds"
    assert place.deliver() == ""
    place.check()


@pytest.mark.usefixtures("impatient")
def test_a_server_that_hangs_does_not_hold_up_an_interruption(toy: Path) -> None:
    from cl.config.loading import load

    with stopped() as uri:
        experiment = load("toy.yaml", [f"--tracking.uri={uri}"])
        with contextlib.suppress(KeyboardInterrupt), tracker_of(experiment, Store("store")) as tracker:
            time.sleep(0.3)
            began = time.monotonic()
            raise KeyboardInterrupt
        assert time.monotonic() - began < 2
        assert tracker is not None
        assert tracker.problem == "no answer within 0.5 seconds"


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("answer", [fails, slowly(0.2, fails), slowly(30, fails)], ids=["fails", "slowly", "hangs"])
def test_a_server_that_fails_is_told_without_its_password(
    place: Place, answer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with answering(answer) as uri:
        began = time.monotonic()
        tracker = place.tracker(uri)
        tracker.finish(place.result, place.report)
        assert time.monotonic() - began < 5
    assert tracker.problem
    assert "geheim" not in tracker.problem + tracker.shown
    assert "me:***@127.0.0.1" in tracker.shown


@pytest.mark.parametrize("broken", ["file in place of the folder", "no database"])
def test_a_place_that_cannot_be_written_is_told_at_once(place: Place, broken: str) -> None:
    file = place.folder / "broken" / "mlflow.db"
    if broken == "no database":
        file.parent.mkdir()
        file.write_text("no database" * 1000)
    else:
        file.parent.write_text("a file")
    began = time.monotonic()
    problem = place.deliver(uri=uri_of(file))
    assert time.monotonic() - began < 5  # MLflow alone tries for 100 seconds
    assert problem
    assert "\n" not in problem


def test_a_full_disk_is_told_and_what_it_refused_is_delivered_later(place: Place) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the kernel refuses to write behind that
        problem = place.deliver()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert problem
    assert "\n" not in problem
    assert place.deliver() == ""
    place.check()


@pytest.mark.usefixtures("forked")
@pytest.mark.slow
def test_two_commands_with_stores_of_their_own_fill_one_mlflow_run(tmp_path: Path, tables: Path) -> None:
    from mlflow import MlflowClient

    uri = uri_of(tmp_path / "server.db")
    shutil.copyfile(tables, tmp_path / "server.db")
    folders = [write_toy(tmp_path / name) for name in ("one", "two")]
    for done in at_once(*[functools.partial(start, folder, f"--tracking.uri={uri}") for folder in folders]):
        assert done.returncode == 0, done.stderr
        assert "not delivered" not in done.stdout
    client = MlflowClient(uri)
    (experiment,) = client.search_experiments(filter_string="name = 'toyexp'")
    found = client.search_runs([experiment.experiment_id])
    assert sorted(run.info.run_name for run in found) == ["finetune seed 0", "toyexp: all runs"]
    assert {run.info.status for run in found} == {"FINISHED"}
    (run,) = [run for run in found if "cl.run" in run.data.tags]
    stages = results(folders[0])["runs"][0]["stages"]
    expected = [(s["offset"] + p["tokens"], p["loss"]) for s in stages for p in s["points"] if p["loss"] is not None]
    history = client.get_metric_history(run.info.run_id, "loss")
    assert sorted((row.step, row.value) for row in history) == sorted(expected)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["st?ore", "st#o%41re", "a b@c"])
def test_the_database_is_in_the_store_whatever_its_name(toy: Path, where: str, capsys: Any) -> None:
    assert cli.main(["run", "toy.yaml", f"--store={where}", "--tracking.uri=null", "--upto=1"]) == 0
    assert "not delivered" not in capsys.readouterr().out
    assert (toy / where / "mlflow.db").stat().st_size > 1e5
    assert (toy / where / "mlflow-artifacts").is_dir()
    ours = {"english.txt", "german.txt", "languages.yaml", "toy.yaml", "results", where}
    assert {path.name for path in toy.iterdir()} == ours


@pytest.mark.slow
def test_no_byte_that_is_printed_or_written_holds_a_password(
    toy: Path, capfd: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with answering(fails) as uri:
        assert cli.main(["run", "toy.yaml", f"--tracking.uri={uri}", "--upto=1"]) == 0
        printed = capfd.readouterr()
        assert "not delivered to http://me:***@127.0.0.1" in " ".join(printed.out.split())
        assert cli.main(["run", "toy.yaml", f"--tracking.uri=sqlite:///{toy}/m.db?password=geheim", "--upto=1"]) == 0
        assert cli.main(["run", "toy.yaml", f"--tracking.uri=ftp{uri[4:]}"]) == 2
        refused = capfd.readouterr()
    assert "geheim" not in printed.out + printed.err + refused.out + refused.err
    files = [path for path in toy.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert [path for path in files if b"geheim" in path.read_bytes() or "geheim" in str(path)] == []
