"""Recognition and recall of what was studied, against twins that were not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from cl.data.tokenization import passages
from cl.errors import UserError
from cl.probes.recognition import recognised
from tests.support.study import write_study
from tests.support.training import plan, results, run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Studied until it is known, then 12 steps of English."""
    found = write_study(tmp_path_factory.mktemp("study"), tokens=4 * 32 * 12, probe_steps=[1, 6])
    run(found, "--examples=1600")
    return found


def test_a_passage_is_recognised_if_it_has_strictly_less_loss() -> None:
    studied, twins = torch.tensor([1.0, 2.0, 3.0, 4.0]), torch.tensor([2.0, 2.0, 1.0, 5.0])
    assert recognised(studied, twins) == 0.5
    assert recognised(twins, studied) == 0.25  # of a tie, neither is recognised


def figures(folder: Path, label: str, row: int, step: int | None = None) -> dict[str, float]:
    (found,) = results(folder)["runs"]
    if step is None:
        measured: dict[str, float] = found["probes"][label][str(row)]["study"]
        return measured
    (inside,) = [each for each in found["inside"] if (each["label"], each["row"], each["step"]) == (label, row, step)]
    return dict(inside["sets"]["study"])


@pytest.mark.slow
def test_what_was_studied_is_recognised_and_recalled_and_recall_is_lost_first(folder: Path) -> None:
    before, studied, later = (figures(folder, "recognition", row)["recognised"] for row in (0, 1, 2))
    assert 0.2 < before < 0.8
    assert studied == 1.0
    recall = [figures(folder, "recall", row)["rouge_l"] for row in (0, 1, 2)]
    assert recall[1] > 0.5 > recall[0]
    lost = (studied - later) / (studied - 0.5), (recall[1] - recall[2]) / recall[1]
    assert lost[1] > lost[0]
    assert figures(folder, "recall", 1)["twin"] < recall[1]  # what was never studied is not recalled


@pytest.mark.slow
def test_states_inside_a_stage_lie_between_its_ends(folder: Path) -> None:
    losses = [
        figures(folder, "recognition", 1)["studied"],
        *(figures(folder, "recognition", 2, step)["studied"] for step in (1, 6)),
        figures(folder, "recognition", 2)["studied"],
    ]
    assert losses == sorted(losses)
    header, *lines = (folder / "results/toyexp/probes.csv").read_text().splitlines()
    assert header == "run,row,step,set,probe,measure,value"
    assert any(line.startswith("finetune-study-english-seed0,2,6,study,recognition,studied,") for line in lines)


@pytest.mark.slow
def test_passages_and_twins_are_rows_and_nothing_of_a_twin_is_trained_on(folder: Path) -> None:
    graph, store = plan(folder)
    place = store.path(graph.data["study"])
    studied = passages(place, "train")
    assert not {passage.text for passage in studied} & {passage.twin for passage in studied}
    assert store.result(graph.data["study"])["kind"] == "passage"
    from safetensors.numpy import load_file

    arrays = load_file(place / "tokens.safetensors")
    for split in ("train", "train.twins"):
        assert len(arrays[f"{split}.starts"]) == len(studied) + 1
        assert set(arrays[f"{split}.answers"]) == {1}  # all but the separator is learned


def test_a_twin_that_is_studied_too_is_refused(tmp_path: Path) -> None:
    folder = write_study(tmp_path)
    found = [json.loads(line) for line in (folder / "pairs.jsonl").read_text().splitlines()]
    wrong = [row | {"twin": other["text"]} for row, other in zip(found, found[1:] + found[:1], strict=True)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in wrong))
    with pytest.raises(UserError, match=r"study: the twin '.*' is also a passage to study; draw other twins"):
        _data(folder)


def _data(folder: Path) -> Any:
    from tests.support.training import execute

    graph, store = plan(folder)
    return execute(folder, graph.data["study"], store)
