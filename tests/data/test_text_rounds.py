"""Packed text: separators around documents, and rounds that no token depends on."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from cl.data import encoding, text_rounds
from cl.data.text_rounds import rounds
from cl.data.tokenization import SEPARATOR
from cl.steps import tokenizer as tokenizer_
from tests.support.packed import packed
from tests.support.training import TEXTS


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return tokenizer_._train_bpe(documents("english"), 300)


def documents(name: str, count: int = 40) -> Iterator[str]:
    yield from (TEXTS / f"{name}.txt").read_text(encoding="utf-8").split("\n\n")[:count]


def test_every_document_follows_a_separator_and_one_ends_the_array(tokenizer: Any) -> None:
    separator = tokenizer.get_vocab()[SEPARATOR]
    texts = ["A first one.", "", "And – a third, ümlaut & 语."]
    ids = packed(texts, tokenizer, separator)
    assert ids.dtype == np.int32
    bounds = np.flatnonzero(ids == separator)
    assert bounds[0] == 0
    assert bounds[-1] == ids.size - 1
    assert len(bounds) == len(texts) + 1
    pieces = [ids[a + 1 : b] for a, b in pairwise(bounds)]
    assert [tokenizer.decode(piece.tolist()) for piece in pieces] == texts  # byte-level: nothing is lost


def test_no_document_is_no_token(tokenizer: Any) -> None:
    assert packed([], tokenizer, 0).size == 0


def test_documents_do_not_depend_on_the_batch_they_are_encoded_in(tokenizer: Any, monkeypatch: Any) -> None:
    texts = list(documents("german"))
    whole = packed(texts, tokenizer, 0)
    monkeypatch.setattr(encoding, "BATCH", 3)
    monkeypatch.setattr(text_rounds, "ROUND", 1000)
    assert len([*rounds(texts, tokenizer, 0)]) > 3
    np.testing.assert_array_equal(packed(texts, tokenizer, 0), whole)


def test_special_tokens_written_in_a_text_forge_no_boundary(tokenizer: Any) -> None:
    separator = tokenizer.get_vocab()[SEPARATOR]
    text = f"before{SEPARATOR}after {SEPARATOR} end"
    ids = packed([text], tokenizer, separator)
    assert np.flatnonzero(ids == separator).tolist() == [0, ids.size - 1]
    assert tokenizer.decode(ids[1:-1].tolist()) == text


def test_what_was_encoded_before_is_left_out(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = list(documents("german"))
    monkeypatch.setattr(text_rounds, "ROUND", 1000)
    every = [*rounds(texts, tokenizer, 0)]
    for place, (done, _) in enumerate(every):
        rest = [*rounds(texts, tokenizer, 0, done)]
        assert [count for count, _ in rest] == [count for count, _ in every[place + 1 :]]
        assert all(np.array_equal(ids, other) for (_, ids), (_, other) in zip(rest, every[place + 1 :], strict=True))
    assert every[-1][0] == len(texts)
