"""Linear probing: the regression by hand, and what it tells of features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cl.config import loading
from cl.errors import UserError
from cl.graph import planner
from cl.probes.linear import classify, ridge
from tests.support.instruction import write_stream
from tests.support.training import execute, plan


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
    folder = write_stream(tmp_path, examples=16, probes={"linear": {"items": 5}})
    graph, store = plan(folder)
    (run,) = graph.runs
    accuracies = []
    for node in run.probes["linear"].values():
        execute(folder, node, store)
        measures = store.result(node)["measures"]
        assert list(measures) == ["which"]
        accuracies.append(measures["which"]["accuracy"])
    assert len(accuracies) == 3
    assert all(0.0 <= 5 * accuracy <= 5.0 and (5 * accuracy).is_integer() for accuracy in accuracies)


@pytest.mark.slow
def test_a_stream_without_labels_cannot_be_probed(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, examples=16, probes={"linear": None})
    text = (folder / "toy.yaml").read_text()
    (folder / "toy.yaml").write_text(text.replace("style: label", "style: yes_no"))
    graph, store = plan(folder)
    with pytest.raises(UserError, match=r"probes\.linear: no task of the stream has labels as its answers; remove"):
        execute(folder, graph.runs[0].probes["linear"][0], store)


def test_text_cannot_be_probed() -> None:
    with pytest.raises(UserError, match=r"probes\.linear: has no effect: no task is of kind instruction; remove it"):
        planner.build(loading.load("quickstart", ["--probes={linear: }"]))


def test_the_old_setting_says_where_it_went() -> None:
    with pytest.raises(
        UserError, match=r"evaluation\.probing: is a probe of its own now; write `probes: \{linear: \}`"
    ):
        loading.load("quickstart", ["--evaluation.probing=true"])
