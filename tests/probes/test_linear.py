"""Linear probing: the regression by hand, and what it tells of features."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import torch

from cl import cli
from cl.config import loading
from cl.errors import UserError
from cl.graph import planner
from cl.probes.linear import classify, ridge
from tests.support.instruction import write_stream


def test_ridge_by_hand() -> None:
    x, y = torch.tensor([[1.0], [-1.0]]), torch.tensor([[1.0], [-1.0]])
    assert ridge(x, y, 1.0).tolist() == [[0.5]]  # (1 + 1)^-1 * 1
    x, y = torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(ridge(x, y, 0.5), torch.tensor([[0.4, 0.0], [0.0, 0.5]]))  # 1 / (2 + .5), .5 / (.5 + .5)


def test_separable_classes_are_told_apart_whatever_the_scale_and_place() -> None:
    train = torch.tensor([[100.0, 7.0], [101.0, 7.0], [103.0, 7.0], [104.0, 7.0]])  # the second feature says nothing
    labels = torch.tensor([0, 0, 1, 1])
    test = torch.tensor([[99.0, 7.0], [101.9, 7.0], [102.1, 9.0]])  # the boundary is at the mean, 102
    assert classify(train, labels, test).tolist() == [0, 0, 1]
    assert classify(1e-3 * train, labels, 1e-3 * test).tolist() == [0, 0, 1]


def test_a_frequent_class_is_the_guess_where_features_say_nothing() -> None:
    assert classify(torch.ones(3, 2), torch.tensor([1, 1, 0]), torch.tensor([[5.0, -5.0]])).tolist() == [1]


@pytest.mark.slow
def test_tasks_with_labels_are_probed_and_others_are_not(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, examples=16, evaluation={"probing": True})
    with contextlib.chdir(folder):
        assert cli.main(["run", "toyexp.yaml"]) == 0
    found = json.loads((folder / "results" / "toyexp" / "results.json").read_text())
    for row in found["runs"][0]["matrix"].values():
        assert 0.0 <= row["which"]["scores"]["probing"] <= 1.0
        assert "probing" not in row["copy"]["scores"]
    (file,) = (folder / "results" / "toyexp").glob("R-*.csv")
    header, *lines = file.read_text().splitlines()
    assert header.split(",")[-1] == "probing"
    assert [line.split(",")[-1] == "" for line in lines] == [True, False] * 3


@pytest.mark.slow
def test_a_stream_without_labels_cannot_be_probed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_stream(tmp_path, examples=16, evaluation={"probing": True})
    text = (folder / "toy.yaml").read_text()
    (folder / "toy.yaml").write_text(text.replace("style: label", "style: yes_no"))
    with contextlib.chdir(folder):
        assert cli.main(["run", "toyexp.yaml"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "evaluation.probing: no task of the stream has labels as its answers; leave it out" in told


def test_text_cannot_be_probed() -> None:
    with pytest.raises(UserError, match=r"evaluation\.probing: has no effect: no task of english_german"):
        planner.build(loading.load("quickstart", ["--evaluation.probing=true"]))
