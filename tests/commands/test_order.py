"""`cl order` as a user runs it: a search that real runs verify, and refusals in one line."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest

from cl import cli
from tests.support.order_command import run, toy


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
@pytest.mark.parametrize(
    ("methods", "settings", "message"),
    [
        (["rewarm_cosine", "ewc"], [], "ewc keeps something between tasks"),
        (["rewarm_cosine", "promotion"], ["--evaluation.tokens=1024"], "promotion keeps something between tasks"),
        (["rewarm_cosine", {"lora": {"life": "stack", "r": 2}}], [], "train different parameters"),
        (["wsd"], [], "no plain stream of tasks"),
        (["rewarm_cosine"], ["--order.strategy=other"], "order.strategy: 'other' is unknown"),
        (["rewarm_cosine"], ["--order.first=3"], "order.first: 3 is behind the last of 2"),
        (["rewarm_cosine"], ["--order.objective=[latin]"], "order.objective: set: 'latin' is unknown"),
        (
            ["rewarm_cosine"],
            ["--order.orders=[backwards]"],
            "order.orders[0]: 'backwards' is none of given, reversed, random",
        ),
        (["rewarm_cosine"], ["--order.orders=[[0, 1]]"], "has 2 batches, the stream 8"),
        (["rewarm_cosine"], ["--order.gigabytes=0.001"], "order.gigabytes: the grid takes"),
        (["rewarm_cosine"], ["--order.oracle=replay"], "order.part: 0 does not fit oracle replay"),
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
