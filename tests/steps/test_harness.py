"""A row of R with a set of lm-evaluation-harness: its own metric on local documents, with our model."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from cl.errors import UserError
from cl.execution import collect, result_files, runner
from cl.graph.specs import Compute
from cl.metrics.records import Cell
from cl.models.forward import TokenLoss
from cl.reporting import mlflow_values
from cl.reporting.html import table
from cl.steps import harness
from cl.steps import tokenizer as tokenizer_
from cl.tasks.harness import HarnessSpec, HarnessTask
from tests.support.steps import stored
from tests.support.training import SEPARATOR, Silent, plan, tiny, write_toy
from tests.tasks.test_harness import write_task

CPU = Compute("cpu", "fp32")

pytestmark = pytest.mark.filterwarnings("ignore")  # of the harness and what it imports


def test_metrics_are_named_as_by_the_harness() -> None:
    results = {
        "alias": "x", "name": "x", "sample_len": 3, "acc,none": 0.5, "acc_stderr,none": "N/A", "acc_norm,none": 1,
        "exact_match,strict-match": 0.25, "exact_match_stderr,strict-match": 0.1,
    }  # fmt: skip
    assert harness.scores_of(results) == {"acc": 0.5, "acc_norm": 1.0, "exact_match/strict-match": 0.25}


@pytest.mark.parametrize("version", ["0.0.1"])
def test_another_version_of_the_harness_is_one_line(version: str) -> None:
    with pytest.raises(UserError, match=r"colours: lm-eval is .* here; pip install lm-eval==0\.0\.1"):
        harness._check(HarnessSpec("colours", "colours", version, "1"), None)


def test_a_cell_of_the_harness_has_no_loss() -> None:
    cell = Cell(scores={"acc": 0.5}, items=2, harness="lm-eval 1, colours 3.0")
    assert [value != value for value in (cell.loss, cell.bits_per_byte, cell.perplexity)] == [True] * 3
    assert result_files._plain(cell).keys() == {
        "tokens", "bytes", "scores", "items", "orders", "repeated", "harness",
    }  # fmt: skip


class Measured:
    """A model with its tokenizer, and the task with its documents."""

    def __init__(self, folder: Path) -> None:
        pytest.importorskip("lm_eval", reason="pip install 'cl[lm-eval]'")
        words = iter(["What is the colour of grass? green; red or so. of blood, of leaves"])
        self.tokenizer = tokenizer_._train_bpe(words, 300)
        self.tokenizer.save_pretrained(stored(folder / "tokenizer", {"separator_id": SEPARATOR}))
        self.loss = TokenLoss(tiny(vocabulary=300).eval(), SEPARATOR, boundaries=True)
        self.loss.model.get_output_embeddings().weight.data *= 20
        self.folder, self.own = folder, write_task(folder / "own")

    def cell(self, limit: int | None = None) -> dict[str, Any]:
        asked = HarnessTask("colours", "colours", limit, str(self.own)).spec()
        return harness.cell(self.loss, asked, self.folder / "tokenizer", str(self.own), 2, CPU)

    def loglikelihood(self, question: str, answer: str) -> float:
        """By the plain model, in nats; the harness puts a blank between the two."""
        whole = self.tokenizer(f"{question} {answer}", return_tensors="pt")["input_ids"][0]
        start = len(self.tokenizer(question)["input_ids"])
        with torch.no_grad():
            found = self.loss.model(whole[None]).logits[0].log_softmax(-1)
        return float(sum(found[place - 1, whole[place]] for place in range(start, len(whole))))


def test_scores_are_those_of_the_harness(tmp_path: Path) -> None:
    measured = Measured(tmp_path)
    before = torch.random.get_rng_state()
    cell = measured.cell()
    assert torch.equal(torch.random.get_rng_state(), before)
    options, right = ["green", "red or so"], {"grass": 0, "blood": 1, "leaves": 0}
    hits, hits_norm = 0, 0
    for of, wanted in right.items():
        values = [measured.loglikelihood(f"What is the colour of {of}?", option) for option in options]
        hits += max((0, 1), key=values.__getitem__) == wanted
        hits_norm += max((0, 1), key=lambda at: values[at] / len(options[at])) == wanted
    assert cell["scores"] == pytest.approx({"acc": hits / 3, "acc_norm": hits_norm / 3})
    assert cell["items"] == 3
    assert cell["harness"].endswith(", colours 3.0")
    assert measured.cell(limit=1)["items"] == 1


def test_documents_that_cannot_be_read_are_one_line(tmp_path: Path) -> None:
    measured = Measured(tmp_path)
    file = measured.own / "colours.yaml"
    text = file.read_text().replace("dataset_path: json", "dataset_path: someone/of-the-hub")
    file.write_text("\n".join(line for line in text.splitlines() if "dataset_kwargs" not in line))
    with pytest.raises(
        UserError, match=r"colours: the documents of colours cannot be read: .* load them once with the"
    ):
        measured.cell()


def test_files_that_have_changed_since_planning_are_one_line(tmp_path: Path) -> None:
    measured = Measured(tmp_path)
    asked = HarnessTask("colours", "colours", None, str(measured.own)).spec()
    (measured.own / "colours.jsonl").write_text("{}")
    with pytest.raises(UserError, match=r"colours: the files in .* have changed since planning"):
        harness.cell(measured.loss, asked, tmp_path / "tokenizer", str(measured.own), 2, CPU)


@pytest.mark.slow
def test_a_stream_with_a_set_of_the_harness(tmp_path: Path) -> None:
    """Cells of R in every row, in the CSV, in MLflow's values and in the table; other keys are as they were."""
    pytest.importorskip("lm_eval", reason="pip install 'cl[lm-eval]'")
    folder = write_toy(tmp_path / "toy")
    without = {node.key for node in plan(folder)[0].nodes}
    write_task(folder / "own")
    content = yaml.safe_load((folder / "toy.yaml").read_text())
    content.setdefault("retain", {})["colours"] = {"source": "lm_eval", "task": "colours", "include": "own"}
    (folder / "toy.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    graph, store = plan(folder)
    rows = {node.key for run in graph.runs for node in run.rows.values()}
    assert {node.key for node in graph.nodes} - without == rows  # nothing is trained again
    with contextlib.chdir(folder):
        runner.run(runner.pending(graph.wanted, store), store, Silent())
    result = collect.collect(graph, store, set(), 0.0, "")
    run = result.runs[0]
    assert all(set(row["colours"].scores) == {"acc", "acc_norm"} for row in run.matrix.values())
    assert "0,colours,,,,,,,0." in result_files.matrix_csv(run)
    assert "R/colours/acc" in {name for name, *_ in mlflow_values.final_metrics(run, result.retain)}
    assert ("colours", "acc") in {(column.title, column.unit) for column in table.strategies(result).columns}
