"""Mean vectors by hand, in any batch, and encoders that are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from cl.errors import UserError
from cl.models import embedding
from tests.support.training import tiny


def test_means_of_tokens_by_hand() -> None:
    states = torch.tensor([[[3.0, 0.0], [0.0, 4.0], [99.0, 99.0]]])
    found = embedding.mean_of_tokens(states, torch.tensor([[1, 1, 0]]))
    torch.testing.assert_close(found, torch.tensor([[0.6, 0.8]]))  # mean (1.5, 2), of length 2.5


def test_a_vector_depends_on_no_batch() -> None:
    model = tiny().get_decoder().eval()
    ids = [[1, 2, 3, 4, 5], [6], [7, 8, 9]]
    together = embedding.vectors(model, ids, batch=3)
    alone = embedding.vectors(model, ids, batch=1)
    assert together == pytest.approx(alone, abs=1e-5)
    states = model(input_ids=torch.tensor([ids[2]])).last_hidden_state[0].mean(0).detach()
    assert together[2] == pytest.approx((states / states.norm()).numpy(), abs=1e-5)


def encoder(folder: Path) -> Path:
    """A BERT of random weights with its tokenizer, as `save_pretrained` leaves them."""
    from transformers import BertConfig, BertModel, BertTokenizer

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "copy", "a", "b"]
    vocabulary = {word: number for number, word in enumerate(words)}
    BertTokenizer(vocab=vocabulary, model_max_length=16).save_pretrained(folder)
    shape = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=8, max_position_embeddings=32, **shape)).save_pretrained(folder)
    return folder


def test_an_encoder_is_opened_from_its_folder(tmp_path: Path) -> None:
    model, tokenizer = embedding.open_encoder(str(encoder(tmp_path)))
    assert embedding.longest(model, tokenizer) == 16
    assert embedding.vectors(model, [tokenizer("copy a")["input_ids"]], 1).shape == (1, 8)


def test_missing_weights_are_not_drawn_at_random(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = encoder(tmp_path) / "model.safetensors"
    kept = {name: value for name, value in load_file(file).items() if "intermediate" not in name}
    save_file(kept, file, {"format": "pt"})
    with pytest.raises(UserError, match=r"its files have no weights for encoder.layer.0.intermediate"):
        embedding.open_encoder(str(tmp_path))
    file.unlink()
    with pytest.raises(UserError, match=r"^model: cannot load"):
        embedding.open_encoder(str(tmp_path))
