"""The base node: a model with its tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cl.config.model import Model
from cl.errors import UserError
from cl.graph.roles import TOKENIZER, Inputs
from cl.graph.specs import BaseSpec, Local
from cl.models import pretrained
from cl.steps import base as base_
from tests.support.steps import context, stored
from tests.support.training import dropout_model


@pytest.fixture(scope="module")
def directory(tmp_path_factory: Any) -> Path:
    return dropout_model(tmp_path_factory.mktemp("model"))


def base(folder: Path, directory: Path, sequence: int, vocabulary: int = 300) -> dict[str, Any]:
    from transformers import AutoTokenizer

    AutoTokenizer.from_pretrained(directory).save_pretrained(folder / "tokenizer")
    inputs = Inputs({TOKENIZER: stored(folder / "tokenizer", {"vocabulary": vocabulary, "separator_id": 0})})
    local = Local("no scenario", Model(name=str(directory)))
    return base_.run(BaseSpec({}, None, sequence), inputs, context(folder, local))


def test_a_base_node_is_a_model_with_its_tokenizer(directory: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    result = base(tmp_path, directory, sequence=32)
    assert result["parameters"] == sum(p.numel() for p in pretrained.load(tmp_path / "out").parameters())
    text = "Ein Wort, zwei Wörter."
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_rows_longer_than_the_model_s_context_are_an_error(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"train\.sequence: 513 is longer than the model's context of 512 tokens"):
        base(tmp_path, directory, sequence=513)


def test_a_tokenizer_larger_than_its_model_is_an_error(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="its tokenizer has 301 tokens, more than the model's 300; use another one"):
        base(tmp_path, directory, sequence=32, vocabulary=301)


def test_a_model_that_reads_later_tokens_is_an_error() -> None:
    from transformers import AutoModelForCausalLM, BertConfig

    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
    decoder, encoder = (
        AutoModelForCausalLM.from_config(BertConfig(**sizes, is_decoder=causal)) for causal in (True, False)
    )
    base_._check_causal(decoder, 16)
    with pytest.raises(UserError, match=r"BertLMHeadModel predicts a token from later ones; name a causal model"):
        base_._check_causal(encoder, 16)
