"""Tokenizing: separators around documents, dialogues of which only the answer is learned, and what separates."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cl.data import tokenization
from cl.data.tokenization import SEPARATOR, as_text, dialogue, encode
from cl.errors import UserError
from cl.steps import tokenizer as tokenizer_
from cl.tasks.example import Example
from tests.support.training import TEXTS


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokenizer_._train_bpe(documents("english"), 300)


def documents(name: str, count: int = 40) -> Iterator[str]:
    yield from (TEXTS / f"{name}.txt").read_text(encoding="utf-8").split("\n\n")[:count]


def test_every_document_follows_a_separator_and_one_ends_the_array(tokenizer: Any) -> None:
    separator = tokenizer.get_vocab()[SEPARATOR]
    texts = ["A first one.", "", "And – a third, ümlaut & 语."]
    ids = encode(texts, tokenizer, separator)
    assert ids.dtype == np.int32
    bounds = np.flatnonzero(ids == separator)
    assert bounds[0] == 0
    assert bounds[-1] == ids.size - 1
    assert len(bounds) == len(texts) + 1
    pieces = [ids[a + 1 : b] for a, b in pairwise(bounds)]
    assert [tokenizer.decode(piece.tolist()) for piece in pieces] == texts  # byte-level: nothing is lost


def test_no_document_is_no_token(tokenizer: Any) -> None:
    assert encode([], tokenizer, 0).size == 0


def test_documents_do_not_depend_on_the_batch_they_are_encoded_in(tokenizer: Any, monkeypatch: Any) -> None:
    texts = list(documents("german"))
    whole = encode(texts, tokenizer, 0)
    monkeypatch.setattr(tokenization, "BATCH", 3)
    np.testing.assert_array_equal(encode(texts, tokenizer, 0), whole)


def test_special_tokens_written_in_a_text_forge_no_boundary(tokenizer: Any) -> None:
    separator = tokenizer.get_vocab()[SEPARATOR]
    text = f"before{SEPARATOR}after {SEPARATOR} end"
    ids = encode([text], tokenizer, separator)
    assert np.flatnonzero(ids == separator).tolist() == [0, ids.size - 1]
    assert tokenizer.decode(ids[1:-1].tolist()) == text


@pytest.mark.parametrize(
    ("vocabulary", "eos", "bos", "expected"),
    [
        ({SEPARATOR: 3, "</s>": 1}, "</s>", "<s>", SEPARATOR),
        ({"</s>": 1}, "</s>", "<s>", "</s>"),
        ({"<s>": 1}, None, "<s>", "<s>"),
    ],
)
def test_which_token_separates(vocabulary: dict[str, int], eos: str | None, bos: str | None, expected: str) -> None:
    tokenizer = SimpleNamespace(get_vocab=lambda: vocabulary, eos_token=eos, bos_token=bos)
    assert tokenization.separator_of(tokenizer) == expected


def test_a_tokenizer_without_any_separator_is_an_error() -> None:
    with pytest.raises(UserError, match=r"model\.tokenizer: has neither"):
        tokenization.separator_of(SimpleNamespace(get_vocab=dict, eos_token=None, bos_token=None))


def test_only_the_answer_is_learned() -> None:
    class Words:
        all_special_tokens = ("<end>",)
        chat_template = None
        eos_token_id = 9

        def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
            return {"input_ids": [ord(letter) for letter in text]}

    question, answer = dialogue(Example("ab", "c", "phrase"), Words(), 0)
    assert (question, answer) == ([0, 97, 98, 10], [99, 9])
    with pytest.raises(UserError, match="holds the special token <end>; remove it"):
        dialogue(Example("a<end>b", "c", "phrase"), Words(), 0)


def test_an_example_as_text() -> None:
    example = Example("2 + 2?", "4", "number", rejected="5")
    assert as_text("a document") == ["a document"]
    assert as_text(example) == ["2 + 2?\n4"]
    assert as_text(example, both=True) == ["2 + 2?\n4", "2 + 2?\n5"]
