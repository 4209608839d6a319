"""`cl order` as a user runs it, on a toy stream: nodes, pages, refusals, and estimates that agree with real runs."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cl import cli
from cl.config import loading
from cl.execution.store import Store
from cl.graph import planner
from cl.sample_order import plan
from tests.training_fixture import write_strategy, write_toy

STEPS = 4


def toy(folder: Path, name: str = "finetune", methods: list[Any] | None = None, **changes: Any) -> Path:
    """The toy stream of two tasks of four steps each; a strategy of its own where methods are given."""
    order = {"tokens": 256, "held_out": 6, "trials": 64, "verify": 1, "readout": "forward"} | changes.pop("order", {})
    write_toy(folder, strategies={name: None}, tokens=4 * 32 * STEPS, order=order, **changes)
    if methods is not None:
        write_strategy(folder, name, methods)
    return folder


def run(folder: Path, action: str, *settings: str, uri: str = "none") -> dict[str, Any]:
    """One action; the answer of its only run."""
    with contextlib.chdir(folder):
        assert cli.main(["order", action, "toyexp.yaml", f"--tracking.uri={uri}", *settings]) == 0
        path = Path("results/toyexp") / f"order_{action}.json"
        if action == "record":
            assert not path.exists()
            return {}
        assert path.with_suffix(".html").stat().st_size > 1e6
        (answer,) = json.loads(path.read_text())["answers"].values()
        found: dict[str, Any] = answer
        return found


@pytest.mark.slow
def test_validation_ranks_better_than_chance_and_says_what_it_cost(tmp_path: Path) -> None:
    answer = run(toy(tmp_path, train={"lr": 1e-3}), "validate")
    rows = {row["name"]: row for row in answer["agreement"]}
    assert {"secant, forward", "secant, quadratic", "grid0, forward", "FUT, 0 terms", "ridge on 5 real runs"} <= set(
        rows
    )
    assert rows["secant, forward"]["spearman"] > 0.8
    assert rows["secant, forward"]["path"] < rows["grid0, forward"]["path"] < rows["FUT, 0 terms"]["path"]
    assert rows["secant, forward"]["error"] < rows["secant, forward"]["constant"]
    assert answer["cost"]["preparation"] == pytest.approx(2 + 25 * (1 + 2 * 256 / (8 * 4 * 32)), rel=0.05)
    assert answer["fidelity"]["verdict"] in ("trust", "verify")


@pytest.mark.slow
def test_nothing_is_computed_twice_and_the_given_order_comes_out_as_trained(tmp_path: Path) -> None:
    folder = toy(tmp_path)
    run(folder, "record")
    store = Store(str(folder / "store"))
    before = {record["key"]: record["created"] for record in store.records()}
    assert sorted(r["identity"]["kind"] for r in store.records()).count("trace") == 2
    found = run(folder, "estimate", "--order.orders=[given, reversed, [7,6,5,4,3,2,1,0]]")["estimates"]
    assert found[1]["order"] == found[2]["order"] == [7, 6, 5, 4, 3, 2, 1, 0]
    assert found[1]["loss"] == pytest.approx(found[2]["loss"], abs=1e-5)  # two rows of one product may round apart
    assert before.items() <= {record["key"]: record["created"] for record in store.records()}.items()
    with contextlib.chdir(folder):
        (each,) = plan.build(planner.build(loading.load("toyexp.yaml")))
    wide = store.result(each.references[0])["validation"]
    assert set(wide) == {"english", "german"}
    assert np.isclose(found[0]["loss"], np.mean([wide["english"], wide["german"]]), atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "first"), [("reset", 1), ("keep", 1), ("keep", 2)])
def test_a_trace_in_the_given_order_ends_where_the_train_nodes_end(tmp_path: Path, policy: str, first: int) -> None:
    folder = toy(tmp_path, "own", ["rewarm_cosine", {"optimizer_state": {"policy": policy}}])
    answer = run(folder, "estimate", "--order.orders=[given]", f"--order.first={first}")
    assert answer["fidelity"]["identity"] < 2e-3  # so the recursion has the same moments
    with contextlib.chdir(folder):
        assert cli.main(["run", "toyexp.yaml", "--tracking.uri=none"]) == 0
        planned = planner.build(loading.load("toyexp.yaml", [f"--order.first={first}"]))
        (each,) = plan.build(planned)
    store = Store(str(folder / "store"))
    from safetensors.torch import load_file

    points = np.load(store.path(each.references[0]) / "points.npy")
    state = load_file(store.path(planned.runs[0].stages[-1].node) / "model.safetensors")
    assert points.shape[0] == (3 - first) * STEPS + 1
    total = sum(float((value**2).sum()) for value in state.values())
    assert float((points[-1].astype(np.float64) ** 2).sum()) == pytest.approx(total, rel=1e-6)


@pytest.mark.slow
def test_a_search_is_verified_by_real_runs(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    answer = run(toy(tmp_path), "search", "--order.force=true", uri=uri)
    assert answer["found"][0]["loss"] <= min(answer["random"]) + 1e-5  # one of them may be the same order
    assert answer["verified"][0]["order"] == answer["found"][0]["order"]
    assert {"loss", "test"} <= answer["given_real"].keys()
    assert answer["tried"] >= 64
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    (found,) = client.search_experiments(filter_string="name = 'toyexp'")
    logged = {one.info.run_name: one for one in client.search_runs([found.experiment_id])}
    one = logged["order search: finetune seed 0, english > german"]
    assert one.data.metrics["search/estimated"] == pytest.approx(answer["found"][0]["loss"])
    assert {"order_search.json", "order_search.html"} == {file.path for file in client.list_artifacts(one.info.run_id)}


@pytest.mark.slow
def test_positions_and_orders_of_tasks(tmp_path: Path) -> None:
    folder = toy(tmp_path)
    moved = run(folder, "position", "--order.samples=[0, 5]")
    assert np.shape(moved["memorisation"]) == np.shape(moved["generalisation"]) == (2, 2 * STEPS)
    assert len(moved["position_weights"]) == 2 * STEPS
    found = run(folder, "tasks")["task_orders"]
    assert [row["tasks"] for row in found] == [["english", "german"], ["german", "english"]]
    assert all(len(row["matrix"]) == 2 for row in found)
    # what was learned last is known better than where it was learned first
    assert found[0]["matrix"][-1]["german"] < found[1]["matrix"][-1]["german"]


@pytest.mark.slow
def test_later_tasks_alone_start_from_the_state_before(tmp_path: Path) -> None:
    run(toy(tmp_path), "record", "--order.first=2")
    kinds = [record["identity"]["kind"] for record in Store(str(tmp_path / "store")).records()]
    assert (kinds.count("train"), kinds.count("trace")) == (1, 2)


@pytest.mark.slow
def test_adapters_are_reordered_too(tmp_path: Path) -> None:
    folder = toy(tmp_path, "lora", ["rewarm_cosine", {"lora": {"r": 2}}], train={"lr": 1e-3})
    answer = run(folder, "validate", "--order.held_out=3")
    assert answer["agreement"][0]["path"] < 0.8


@pytest.mark.parametrize(
    ("methods", "settings", "message"),
    [
        (["rewarm_cosine", "ewc"], [], "ewc keeps something between tasks"),
        (["rewarm_cosine", {"lora": {"life": "stack", "r": 2}}], [], "train different parameters"),
        (["wsd"], [], "no plain stream of tasks"),
        (["rewarm_cosine"], ["--order.strategy=other"], "order.strategy: 'other' is unknown"),
        (["rewarm_cosine"], ["--order.first=3"], "order.first: 3 is behind the last of 2"),
        (["rewarm_cosine"], ["--order.objective=[latin]"], "order.objective: set: 'latin' is unknown"),
        (["rewarm_cosine"], ["--order.orders=[backwards]"], "order.orders: 'backwards' is unknown"),
        (["rewarm_cosine"], ["--order.orders=[[0, 1]]"], "has 2 batches, the stream 8"),
        (["rewarm_cosine"], ["--order.gigabytes=0.001"], "order.gigabytes: the grid takes"),
        (["rewarm_cosine"], ["--order.oracle=replay"], "order.part: 0 rows with the oracle replay"),
        (["rewarm_cosine"], ["--order.held_out=1"], "order.held_out: 1 must be at least 3"),
    ],
)
def test_bad_input_is_told_in_one_line(
    tmp_path: Path, methods: list[Any], settings: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = toy(tmp_path, "own", methods)
    with contextlib.chdir(folder):
        assert cli.main(["order", "estimate", "toyexp.yaml", *settings]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
