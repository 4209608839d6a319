"""Token ids by all cores are those of the tokenizer's own call, whatever stands in the texts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from cl.data import encoding
from cl.data.encoding import THREADS, encoded
from tests.support.training import dropout_model


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return AutoTokenizer.from_pretrained(dropout_model(tmp_path_factory.mktemp("model")))


def own(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    found: list[list[int]] = tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
    return found


@given(st.lists(st.text() | st.just("a<|endoftext|>b"), min_size=1, max_size=8))
def test_the_same_ids_as_the_tokenizer_s_own_call(tokenizer: Any, texts: list[str]) -> None:
    assert [ids.tolist() for ids in encoded(texts, tokenizer)] == own(tokenizer, texts)


def test_more_texts_than_a_batch(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "BATCH", 3)
    texts = [f"text {number} of ten" for number in range(10)]
    assert [ids.tolist() for ids in encoded(texts, tokenizer)] == own(tokenizer, texts)


def test_a_stored_length_cuts_nothing_and_settings_come_back(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    cut = AutoTokenizer.from_pretrained(tmp_path)
    cut.backend_tokenizer.enable_truncation(4)
    cut.backend_tokenizer.enable_padding(length=9)
    (found,) = encoded(["one two three four five six seven"], cut)
    assert found.tolist() == own(tokenizer, ["one two three four five six seven"])[0]
    assert found.dtype == np.int32
    assert cut.backend_tokenizer.encode_special_tokens is False


def test_a_tokenizer_that_changes_texts_is_asked_itself(tokenizer: Any) -> None:
    class Lower(PreTrainedTokenizerFast):
        def __call__(self, text: Any = None, *args: Any, **kwargs: Any) -> Any:
            return super().__call__([each.lower() for each in text], *args, **kwargs)

    lower = Lower(tokenizer_object=tokenizer.backend_tokenizer)
    (found,) = encoded(["ABC"], lower)
    assert found.tolist() == own(tokenizer, ["abc"])[0]


@pytest.mark.parametrize("value", [None, "false", "true"])
def test_threads_are_used_here_alone(tokenizer: Any, value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(THREADS, raising=False)
    if value is not None:
        monkeypatch.setenv(THREADS, value)
    list(encoded(["a", "b"], tokenizer))
    assert os.environ.get(THREADS) == value
