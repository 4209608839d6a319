"""A row of R: the same again, and in any batch."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.numpy import save_file

from cl.data.tokenization import SEPARATOR as SEPARATOR_TOKEN
from cl.data.tokenization import arrays_of
from cl.errors import UserError
from cl.graph.measurement_specs import EvaluateSpec
from cl.graph.roles import STATE, TOKENIZER, Inputs, data
from cl.graph.specs import Compute, Packing
from cl.models import decoding, pretrained
from cl.steps import tokenizer as tokenizer_
from cl.steps.evaluate import run
from cl.tasks.example import Example
from tests.support.data_node import SEQUENCE, data_folder
from tests.support.steps import context, stored
from tests.support.training import SEPARATOR, tiny


def evaluated(folder: Path, batch: int, tokens: int) -> dict[str, Any]:
    sets = ("english", "german")
    spec = EvaluateSpec(sets, tokens, batch, 0, Packing(SEQUENCE, True), Compute("cpu", "fp32"))
    own = {STATE: folder / "state", TOKENIZER: folder / "tokenizer"}
    return run(spec, Inputs(own | {data(name): folder / name for name in sets}), context(folder))


def test_a_row_of_r(tmp_path: Path) -> None:
    pretrained.save(tiny(), tmp_path / "state")
    stored(tmp_path / "tokenizer", {"separator_id": SEPARATOR})
    data_folder(tmp_path / "english"), data_folder(tmp_path / "german", rows=3, seed=1)
    cells = evaluated(tmp_path, batch=4, tokens=5 * SEQUENCE)["cells"]
    assert list(cells) == ["english", "german"]
    assert [cell["tokens"] for cell in cells.values()] == [5 * SEQUENCE, 3 * SEQUENCE]
    assert [cell["bytes"] for cell in cells.values()] == pytest.approx([10 * SEQUENCE, 6 * SEQUENCE])
    again = evaluated(tmp_path, batch=4, tokens=5 * SEQUENCE)["cells"]
    assert again == cells  # bit for bit
    other = evaluated(tmp_path, batch=1, tokens=5 * SEQUENCE)["cells"]
    assert [cell["nll"] for cell in other.values()] == pytest.approx([cell["nll"] for cell in cells.values()], rel=1e-6)


COLOURS = ("red", "green", "blue")
ITEMS = (("of leaves", "green"), ("of blood", "red"), ("of the sky", "blue"), ("of grass", "green"))


class Answering:
    """Rows of R of a toy set of questions, answered by a rule in place of the model's greedy answers."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.asked, self.count = folder, list[str](), 0
        self.tokenizer = tokenizer_._train_bpe(iter(["of leaves: red; green; blue? of blood, of the sky"]), 300)
        pretrained.save(tiny(vocabulary=300), folder / "state")
        self.tokenizer.save_pretrained(stored(folder / "tokenizer", {"separator_id": SEPARATOR}))
        monkeypatch.setattr(decoding, "answers", self._answers)

    def _answers(self, model: Any, questions: Sequence[torch.Tensor], *rest: Any, **settings: Any) -> list[list[int]]:
        """The option that the prompt lists first: a model with a preference for a place."""
        self.asked += [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in questions]
        first = [min(COLOURS, key=text.find) if "; " in text else "red" for text in self.asked[-len(questions) :]]
        return [self.tokenizer(name)["input_ids"] for name in first]

    def row(self, order: Sequence[str] | None, **prompting: int) -> dict[str, Any]:
        """The cell of the questions whose options stand in an order; None: no question lists its options."""
        self.count += 1
        self.asked.clear()
        place, listed = self.folder / str(self.count), "" if order is None else f": {'; '.join(order)}"
        found = [Example(f"What is the colour {of}{listed}?", right, "label", COLOURS) for of, right in ITEMS]
        place.mkdir()
        separator = self.tokenizer.get_vocab()[SEPARATOR_TOKEN]
        save_file(arrays_of("test", found, self.tokenizer, separator, None), place / "tokens.safetensors")
        (place / "test.examples.json").write_text(json.dumps([asdict(each) for each in found]))
        stored(place, {"kind": "instruction", "end_of_turn": separator})
        spec = EvaluateSpec(
            ("colours",), 512, 4, 4, Packing(64, True), Compute("cpu", "fp32"), scores=("strict",), **prompting
        )
        own = {STATE: self.folder / "state", TOKENIZER: self.folder / "tokenizer", data("colours"): place}
        cell: dict[str, Any] = run(spec, Inputs(own), context(self.folder))["cells"]["colours"]
        return cell

    def items(self) -> list[dict[str, Any]]:
        lines = (self.folder / "out" / "items" / "colours.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


@pytest.fixture
def answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Answering:
    return Answering(tmp_path, monkeypatch)


def test_over_orders_of_the_options_a_preference_for_a_place_scores_chance(answering: Answering) -> None:
    written = list(itertools.permutations(COLOURS))
    plain = {answering.row(order)["scores"]["strict"] for order in written}
    assert plain == {0.25, 0.5}  # by the option that the benchmark happens to list first
    for count in (3, 6, 100):
        cells = [answering.row(order, choice_orders=count) for order in written]
        assert [cell["scores"]["strict"] for cell in cells] == pytest.approx([1 / 3] * 6)
        assert {(cell["items"], cell["orders"]) for cell in cells} == {(4, min(count, 6))}
    two = [answering.row(order, choice_orders=2)["scores"]["strict"] for order in written]
    assert len(set(two)) == 1  # no whole round of places, but the same for every order of the input


def test_every_answer_over_orders_is_kept(answering: Answering) -> None:
    answering.row(COLOURS, choice_orders=3)
    items = answering.items()
    assert len(items) == 4
    for item in items:
        assert item["strict"] == pytest.approx(1 / 3)
        assert sorted(each["answer"] for each in item["orders"]) == sorted(COLOURS)
        assert len({each["question"] for each in item["orders"]}) == 3
    answering.row(COLOURS)
    assert all(set(item) == {"question", "reference", "answer", "strict"} for item in answering.items())


def test_orders_have_no_effect_where_no_question_lists_options(answering: Answering) -> None:
    with pytest.raises(UserError, match=r"evaluation\.choice_orders: has no effect: no question lists its options"):
        answering.row(None, choice_orders=2)
    assert answering.asked == []


def test_a_repeated_question_changes_the_prompt_alone(answering: Answering) -> None:
    once = answering.row(COLOURS)
    prompts = [text.rstrip() for text in answering.asked]
    twice = answering.row(COLOURS, repeat_context=2)
    assert [text.rstrip() for text in answering.asked] == [f"{text}\n{text}" for text in prompts]
    assert twice == {**once, "repeated": 2}  # the losses are those of the rows
    assert [item["question"] for item in answering.items()] == prompts


def test_both_change_a_prompt_together(answering: Answering) -> None:
    cell = answering.row(COLOURS, choice_orders=3, repeat_context=2)
    assert (cell["orders"], cell["repeated"], cell["scores"]["strict"]) == (3, 2, pytest.approx(1 / 3))
    assert len(set(answering.asked)) == 12
    for text in answering.asked:
        first, second = text.rstrip().split("\n")
        assert first == second


def test_behind_stored_examples_as_many_rows_are_measured_as_without(tmp_path: Path) -> None:
    pretrained.save(tiny(), tmp_path / "state")
    stored(tmp_path / "tokenizer", {"separator_id": SEPARATOR})
    for name, rows in (("english", 7), ("german", 4)):
        data_folder(tmp_path / name, rows=10)
        record = json.loads((tmp_path / name / "node.json").read_text(encoding="utf-8"))
        stored(tmp_path / name, record["result"] | {"window": {"rows": rows, "longest": SEQUENCE}})
    cells = evaluated(tmp_path, batch=4, tokens=5 * SEQUENCE)["cells"]
    assert [cell["tokens"] for cell in cells.values()] == [7 * SEQUENCE, 4 * SEQUENCE]
    stored(tmp_path / "german", record["result"] | {"window": {"rows": 1, "longest": 513}})
    with pytest.raises(UserError, match="context: 513 is more than the 512 tokens that the model reads; lower it"):
        evaluated(tmp_path, batch=4, tokens=5 * SEQUENCE)
