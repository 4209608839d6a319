"""Losses on fixed windows: the same in any batch, and without a trace in the training that is looked at."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cl.data.batches import Batch
from cl.data.rows import PackedRows
from cl.errors import UserError
from cl.models import pretrained
from cl.models.forward import TokenLoss
from cl.training.validation import Validator, bytes_per_token, score, window
from tests.support.data_node import SEQUENCE, data_folder, ids
from tests.support.training import SEPARATOR, VOCABULARY, dropout_model, tiny


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
@pytest.mark.parametrize("batch", [1, 3, 10])
def test_a_score_does_not_depend_on_the_batch(name: str, batch: int) -> None:
    loss, rows = TokenLoss(tiny(name).eval(), SEPARATOR, boundaries=True), PackedRows(ids(10 * SEQUENCE + 1), SEQUENCE)
    expected, tokens = score(loss, rows, 10, 4, "cpu", "fp32")
    found, count = score(loss, rows, 10, batch, "cpu", "fp32")
    assert (tokens, count) == (10 * SEQUENCE, 10 * SEQUENCE)
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_score_is_the_sum_of_its_rows() -> None:
    loss, rows = TokenLoss(tiny().eval(), SEPARATOR, boundaries=True), PackedRows(ids(5 * SEQUENCE + 1), SEQUENCE)
    with torch.no_grad():
        each = [float(loss.total(Batch(rows[row].ids[None], None))) for row in range(5)]
    assert score(loss, rows, 3, 2, "cpu", "fp32")[0] == pytest.approx(sum(each[:3]), rel=1e-6)


def test_an_untrained_model_scores_about_as_badly_as_guessing() -> None:
    nll, tokens = score(TokenLoss(tiny().eval(), 0, True), PackedRows(ids(1601), SEQUENCE), 100, 8, "cpu", "fp32")
    assert nll / tokens == pytest.approx(math.log(VOCABULARY), rel=0.02)


def test_bf16_scores_differ_by_rounding_only() -> None:
    loss, rows = TokenLoss(tiny().eval(), SEPARATOR, True), PackedRows(ids(161), SEQUENCE)
    exact, rounded = (score(loss, rows, 10, 4, "cpu", precision)[0] for precision in ("fp32", "bf16"))
    assert exact != rounded
    assert rounded == pytest.approx(exact, rel=1e-2)


@pytest.mark.parametrize(
    ("rows", "tokens", "expected"),
    [(10, 64, 4), (10, 79, 4), (10, 10**9, 10), (10, 1, 1)],  # rows of 16 tokens: at least one, at most all
)
def test_windows_by_hand(rows: int, tokens: int, expected: int, tmp_path: Path) -> None:
    found, count = window(data_folder(tmp_path / "data", rows), "english", "test", SEQUENCE, tokens)
    assert count == expected
    assert found[0].ids.tolist() == ids(rows * SEQUENCE + 1)[: SEQUENCE + 1].tolist()  # always the first rows


def test_a_split_shorter_than_a_row_is_an_error_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"english: the test split is shorter than a row of 513 tokens; give more text"):
        window(data_folder(tmp_path / "data", 10), "english", "test", 512, 64)


def test_bytes_per_token_leaves_out_the_token_that_is_no_target() -> None:
    assert bytes_per_token({"tokens": {"test": 101}, "report": {"bytes": {"test": 250}}}) == 2.5


class Restless(torch.nn.Module):
    """A model that draws random numbers even in evaluation mode."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model, self.config = model, model.config

    def get_output_embeddings(self) -> None:
        return None

    def get_decoder(self) -> Any:
        return self.model

    def forward(self, **inputs: Any) -> Any:
        torch.rand(3)
        return self.model(**inputs)


def test_a_look_leaves_no_trace(tmp_path: Path) -> None:
    model = pretrained.load(dropout_model(tmp_path / "model")).train()
    loss = TokenLoss(Restless(model).train(), SEPARATOR, boundaries=True)
    validator = Validator({"english": data_folder(tmp_path / "english")}, lambda _: SEQUENCE, 64, batch=2)
    assert validator.tokens == 64
    loss.total(Batch(torch.from_numpy(ids(17).astype(np.int64))[None], None)).backward()
    gradients = {name: value.grad.clone() for name, value in model.named_parameters()}
    random = torch.get_rng_state()
    first, second = validator(loss, "cpu", "fp32"), validator(loss, "cpu", "fp32")
    assert first == second  # without dropout
    assert first["english"] == pytest.approx(math.log(model.config.vocab_size), rel=0.05)
    assert torch.equal(torch.get_rng_state(), random)
    assert model.training
    for name, value in model.named_parameters():
        assert torch.equal(value.grad, gradients[name])


def test_a_look_at_a_model_in_evaluation_mode_leaves_it_there(tmp_path: Path) -> None:
    loss = TokenLoss(tiny().eval(), SEPARATOR, boundaries=True)
    Validator({"english": data_folder(tmp_path / "english")}, lambda _: SEQUENCE, 64, batch=2)(loss, "cpu", "fp32")
    assert not loss.model.training
