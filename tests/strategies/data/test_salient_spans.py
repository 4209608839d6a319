"""Salient spans by hand, and which tokens of a stored row are learned."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.data.rows import IGNORE, rows
from cl.models import pretrained
from cl.tasks.article import Article
from cl.tasks.example import Example
from strategies.data.salient_spans import SalientSpans, spans
from tests.support.graph import by_label
from tests.support.reading import write_reading
from tests.support.training import execute, plan


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The Rhine was crossed in 55 BC by Julius Caesar.", ["The Rhine", "55", "BC", "Julius Caesar"]),
        ("Rivers flow north.", []),  # it only opens a sentence
        ("Rivers flow. In Rome it rains on Rivers.", ["In Rome", "Rivers"]),
        ("a bank: Bank of England, 3.5% (1694)", ["Bank of England", "3.5", "1694"]),
        ("nothing here", []),
    ],
)
def test_spans_are_names_and_numbers(text: str, expected: list[str]) -> None:
    assert [text[first:last] for first, last in spans(text)] == expected


def test_a_document_without_a_span_is_learned_whole_and_told() -> None:
    method, asked = SalientSpans(), Example("Who?", "Ada", "phrase")
    named, plain = Article("She is Ada.", (asked,)), Article("she wrote.", (asked,))
    found = method.transform([named, plain, asked], "read", "train")
    assert [each.learned for each in found[:2]] == [((7, 10),), None]
    assert found[2] is asked
    told = "salient_spans: 1 of 2 documents have no span; learned whole"
    assert method.notes() == {"documents": 2, "whole": 1, "warnings": [told]}


def test_only_tokens_of_spans_are_learned(tmp_path: Path) -> None:
    folder = write_reading(tmp_path, strategies={"reading_salient": None, "constant": None})
    content = (folder / "first.json").read_text().replace(" lives in ", " lives in Old York and ")
    (folder / "first.json").write_text(content)
    graph, store = plan(folder)
    runs = by_label(graph)
    node, plain = (runs[label].data["first"] for label in ("reading_salient", "constant"))
    assert node.key != plain.key
    assert runs["reading_salient"].data["form"].key == runs["constant"].data["form"].key
    execute(folder, node, store)
    found = rows(store.path(node), "first", "train", 64)
    (tokenizer,) = node.parents.values()
    reader = pretrained.stored_tokenizer(store.path(tokenizer))
    for row in range(len(found)):
        targets = found[row].targets
        assert targets is not None
        learned = reader.decode(targets[targets != IGNORE]).strip()
        assert "Old York" in learned
        assert len(learned) < len(" and Old York and ") + 4  # no more than tokens that the span shares
