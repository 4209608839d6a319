"""Runs that the server names, and calls that can be repeated; in memory, where a row that is sent twice is two rows."""

from __future__ import annotations

import pytest

from cl.metrics.records import Point
from cl.reporting.mlflow_runs import COMPLETE, MlflowRun, MlflowRuns
from tests.support.mlflow_server import TOKENS, Server, points


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    server = Server()
    monkeypatch.setattr(MlflowRuns, "client", server)
    return server


def opened(experiment: str = "toyexp", name: str = "a seed 0") -> tuple[MlflowRuns, MlflowRun]:
    """As a new process does it."""
    runs = MlflowRuns("http://away", experiment, None)
    with runs.alone():
        return runs, runs.open("cl.run", "key", name)


def test_a_run_is_found_by_its_tag(server: Server) -> None:
    assert opened()[1].run_id == opened()[1].run_id
    assert len(server.runs) == 1


def test_experiments_and_labels_have_runs_of_their_own(server: Server) -> None:
    found = [opened(), opened("later"), opened(name="b seed 0")]
    assert len({run.run_id for _, run in found}) == 3
    assert sorted(server.experiments) == ["later", "toyexp"]


def test_of_two_runs_that_were_made_at_once_the_first_one_stays(server: Server) -> None:
    runs = MlflowRuns("http://away", "toyexp", None)
    tags = {"cl.run": "key", "cl.name": "a seed 0"}

    def another(name: str) -> None:
        if name == "create_run" and not server.runs:
            server.before = lambda name: None
            server.create_run("toyexp", tags)

    server.before = another
    assert runs.open("cl.run", "key", "a seed 0").run_id == "run-0"
    assert list(server.runs) == ["run-0"]


def test_an_experiment_that_another_machine_makes_meanwhile_is_used(server: Server) -> None:
    server.before = lambda name: server.experiments.append("toyexp") if name == "create_experiment" else None
    assert opened()[1].run_id == "run-0"


def test_a_run_that_was_deleted_on_the_server_is_made_anew(server: Server) -> None:
    runs, run = opened()
    runs.send_points(run, 1, 0, 0.0, points(0, 1))
    server.runs.clear()
    runs, run = opened()
    runs.send_points(run, 1, 0, 0.0, points(0, 1))
    assert server.steps() == [0, 50]


def test_a_point_is_known_by_its_stage_and_its_tokens(server: Server) -> None:
    for _ in range(2):
        for stage in (2, 3):  # a fork, and the trunk that goes on from the same state
            runs, run = opened()
            runs.send_points(run, stage, TOKENS, 5.0, points(1, 3))
    assert server.steps() == 2 * [TOKENS + tokens for tokens in (50, 100, 150)]


def test_a_point_that_was_sent_in_part_is_sent_again(server: Server) -> None:
    wide = Point(1, 10, 1.0, terms={f"term{i}": 1.0 for i in range(2500)})
    calls = []

    def second_fails(name: str) -> None:
        calls.append(name)
        if calls.count("log_batch") == 2:
            raise ConnectionError

    runs, run = opened()
    server.before = second_fails
    with pytest.raises(ConnectionError):
        runs.send_points(run, 1, 0, 0.0, [wide])
    server.before = lambda name: None
    runs, run = opened()
    runs.send_points(run, 1, 0, 0.0, [wide])
    (rows,) = (run.rows for run in server.runs.values())
    assert len({(row.key, row.timestamp, row.step, row.value) for row in rows}) == 2502  # MLflow's tables keep these


def test_points_of_an_earlier_version_are_not_sent_again(server: Server) -> None:
    runs, run = opened()
    runs.send_points(run, 1, 0, 0.0, points(0, 4))
    (stored,) = server.runs.values()
    stored.rows = [row for row in stored.rows if row.key != "stage"]
    runs, run = opened()
    runs.send_points(run, 1, 0, 0.0, points(0, 6))
    assert server.steps("seconds") == [0, 50, 100, 150, 200, 250, 300]


def test_final_metrics_parameters_and_tags_are_sent_once(server: Server) -> None:
    for value in ("1", "2"):
        runs, run = opened()
        runs.send_metrics(run, [("R/a b?/loss", 1.0, 10), ("R/a b?/loss", 2.0, 20)])
        runs.describe(run, {"name?": value, f"new{value}": 1}, {"command": value})
    (stored,) = server.runs.values()
    assert [(row.key, row.value, row.step) for row in stored.rows] == [
        ("R/a b_/loss", 1.0, 10),
        ("R/a b_/loss", 2.0, 20),
    ]
    assert stored.params == {"name_": "1", "new1": "1", "new2": "1"}  # MLflow changes no parameter
    assert stored.tags["command"] == "2"


def test_a_run_is_complete_when_it_has_ended(server: Server) -> None:
    order = []
    runs, run = opened()
    server.before = order.append
    runs.complete(run)
    (stored,) = server.runs.values()
    assert order == ["set_terminated", "set_tag"]  # killed in between, it is ended again
    assert (stored.info.status, stored.tags[COMPLETE]) == ("FINISHED", "true")
    assert opened()[1].complete


def test_the_server_is_asked_again_where_another_process_has_written(server: Server) -> None:
    runs, run = opened()
    with runs.alone():
        assert runs.open("cl.run", "key", "a seed 0") is run
    opened()
    with runs.alone():
        assert runs.open("cl.run", "key", "a seed 0") is not run
        kept = runs.opened
    with pytest.raises(ConnectionError), runs.alone():
        raise ConnectionError
    assert kept == {}


def test_who_is_given_up_sends_nothing_any_more() -> None:
    runs = MlflowRuns("http://away", "toyexp", None)
    runs.given_up = True
    with pytest.raises(TimeoutError):
        _ = runs.client


def test_the_lock_names_no_password() -> None:
    there, here = (MlflowRuns(f"http://me:{word}@away", "toyexp", None).lock for word in ("geheim", "other"))
    assert there == here
    assert there.suffix == ".lock"
