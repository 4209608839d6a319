"""Tokenizing: separators around documents, dialogues of which only the answer is learned, and what separates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cl.data import tokenization
from cl.data.tokenization import SEPARATOR, as_text, dialogue
from cl.errors import UserError
from cl.steps import tokenizer as tokenizer_
from cl.tasks.example import Example
from tests.support.packed import packed
from tests.support.training import TEXTS


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokenizer_._train_bpe(documents("english"), 300)


def documents(name: str, count: int = 40) -> Iterator[str]:
    yield from (TEXTS / f"{name}.txt").read_text(encoding="utf-8").split("\n\n")[:count]


class Bare:
    """A tokenizer of letters, whose call puts `before` and `after` around a text."""

    all_special_tokens = ("<end>",)
    chat_template = None

    def __init__(
        self, vocabulary: dict[str, int], eos: str | None = None, bos: str | None = None, **frame: Any
    ) -> None:
        self.vocabulary, self.eos_token, self.bos_token, self.frame = vocabulary, eos, bos, frame
        self.eos_token_id = vocabulary.get(eos or "")

    def get_vocab(self) -> dict[str, int]:
        return self.vocabulary

    def convert_ids_to_tokens(self, found: int) -> str:
        return next(token for token, number in self.vocabulary.items() if number == found)

    def __call__(self, text: Any, add_special_tokens: bool = True, **_: Any) -> dict[str, Any]:
        if isinstance(text, list):
            return {"input_ids": [self(each, add_special_tokens)["input_ids"] for each in text]}
        ids = [ord(letter) for letter in text]
        if add_special_tokens:
            ids = [*self.frame.get("before", ()), *ids, *self.frame.get("after", ())]
        return {"input_ids": ids}


@pytest.mark.parametrize(
    ("vocabulary", "eos", "bos", "expected"),
    [
        ({SEPARATOR: 3, "</s>": 1}, "</s>", "<s>", SEPARATOR),
        ({"</s>": 1}, "</s>", "<s>", "</s>"),
        ({"<s>": 1}, None, "<s>", "<s>"),
    ],
)
def test_which_token_separates(vocabulary: dict[str, int], eos: str | None, bos: str | None, expected: str) -> None:
    tokenizer: Any = Bare(vocabulary, eos, bos)
    assert tokenization.separator_of(tokenizer) == expected


def test_a_tokenizer_without_any_separator_is_an_error() -> None:
    tokenizer: Any = Bare({})
    with pytest.raises(UserError, match=r"model\.tokenizer: has neither"):
        tokenization.separator_of(tokenizer)


@pytest.mark.parametrize(
    ("frame", "separator", "expected"),
    [
        ({}, "</s>", [2, 97, 2, 98, 2]),
        ({"before": [1]}, "<s>", [1, 97, 1, 98, 1]),  # Llama, Mistral, Gemma
        ({"before": [1], "after": [2]}, "<s>", [1, 97, 2, 1, 98, 2, 1]),
        ({"before": [5, 1]}, "[gMASK]", [5, 1, 97, 5, 1, 98, 5]),  # GLM
        ({"after": [2]}, "</s>", [2, 97, 2, 98, 2]),
    ],
)
def test_documents_begin_and_end_as_the_tokenizer_s_own_call_does(
    frame: dict[str, list[int]], separator: str, expected: list[int]
) -> None:
    tokenizer: Any = Bare({"<s>": 1, "</s>": 2, "[gMASK]": 5}, "</s>", "<s>", **frame)
    assert tokenization.separator_of(tokenizer) == separator
    assert packed(["a", "b"], tokenizer, tokenizer.vocabulary[separator]).tolist() == expected


def test_a_question_without_template_begins_as_a_document_and_its_answer_ends_with_eos() -> None:
    tokenizer: Any = Bare({"<s>": 1, "</s>": 2}, "</s>", "<s>", before=[1])
    example = Example("q", "a", "phrase")
    assert dialogue(example, tokenizer, 1) == ([1, 113, 10], [97, 2])
    assert tokenization.plain(example, tokenizer, 1) == ([1, 113, 10], [97, 2])


def test_only_the_answer_is_learned() -> None:
    tokenizer: Any = Bare({"<end>": 9, SEPARATOR: 0}, "<end>")
    question, answer = dialogue(Example("ab", "c", "phrase"), tokenizer, 0)
    assert (question, answer) == ([0, 97, 98, 10], [99, 9])
    with pytest.raises(UserError, match="holds the special token <end>; remove it"):
        dialogue(Example("a<end>b", "c", "phrase"), tokenizer, 0)


def test_an_example_as_text() -> None:
    example = Example("2 + 2?", "4", "number", rejected="5")
    assert as_text("a document") == ["a document"]
    assert as_text(example) == ["2 + 2?\n4"]
    assert as_text(example, both=True) == ["2 + 2?\n4", "2 + 2?\n5"]
