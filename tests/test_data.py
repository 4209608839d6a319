"""Tokenizing and packing: separators, rows, segments and masks by hand; documents that cannot see each other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from cl.data import tokenization
from cl.data.batches import Batch, PackedRows, block_mask, positions, rows, segments
from cl.data.tokenization import SEPARATOR, encode
from cl.errors import UserError
from cl.models.forward import TokenLoss
from cl.steps import data
from cl.steps import tokenizer as tokenizer_
from cl.training.validation import bytes_per_token
from tests.training_fixture import TEXTS, VOCABULARY, tiny

S = 0  # the separator's id in rows written by hand


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


def test_rows_share_one_token_and_drop_the_tail() -> None:
    packed = PackedRows(np.arange(12, dtype=np.int32), 4)
    assert len(packed) == 2  # 9, 10 and 11 do not fill a row
    assert (packed[0].ids.tolist(), packed[1].ids.tolist()) == ([0, 1, 2, 3, 4], [4, 5, 6, 7, 8])
    assert packed[0].ids.dtype == torch.int64


@pytest.mark.parametrize(("size", "count"), [(0, 0), (1, 0), (4, 0), (5, 1), (8, 1), (9, 2), (12, 2), (13, 3)])
def test_number_of_rows(size: int, count: int) -> None:
    assert len(PackedRows(np.zeros(size, np.int32), 4)) == count


@pytest.mark.parametrize("row", [-1, 2])
def test_a_row_outside_is_an_error(row: int) -> None:
    with pytest.raises(IndexError, match="of 2"):
        PackedRows(np.arange(12, dtype=np.int32), 4)[row]


@pytest.mark.parametrize(
    ("ids", "segment", "position"),
    [
        ([S, 5, 6, S, 7, 8], [1, 1, 1, 2, 2], [0, 1, 2, 0, 1]),  # two documents; the last id is a target only
        ([4, 5, S, 7, 8, S], [0, 0, 1, 1, 1], [0, 1, 0, 1, 2]),  # the row starts inside a document
        ([4, 5, 6, 7, 8, 9], [0, 0, 0, 0, 0], [0, 1, 2, 3, 4]),
        ([S, S, 5, S, S, 5], [1, 2, 2, 3, 4], [0, 0, 1, 0, 0]),  # an empty document is a segment of its own
    ],
)
def test_segments_and_positions_by_hand(ids: list[int], segment: list[int], position: list[int]) -> None:
    found = segments(Batch(torch.tensor([ids]), None), S)
    assert found.tolist() == [segment]
    assert positions(found).tolist() == [position]


def test_block_mask_by_hand() -> None:
    mask = block_mask(torch.tensor([[1, 1, 2, 2], [0, 0, 0, 1]]))
    assert mask.shape == (2, 1, 4, 4)
    assert mask.dtype == torch.bool
    assert mask.int().tolist() == [
        [[[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]],
        [[[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [0, 0, 0, 1]]],
    ]


A, B = [3, 14, 15, 9, 26, 5, 35], [2, 7, 18, 28, 18, 28]


def logits(model: Any, ids: list[int], boundaries: bool = True) -> torch.Tensor:
    """[T, V] for the inputs of a row whose last target is the separator."""
    loss = TokenLoss(model, S, boundaries)
    with torch.no_grad():
        found: torch.Tensor = model(**loss.inputs(Batch(torch.tensor([[*ids, S]]), None)), use_cache=False).logits[0]
    return found


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_a_document_neither_sees_nor_changes_its_neighbour(name: str) -> None:
    model = tiny(name).eval()
    row = logits(model, [S, *A, S, *B])
    alone = torch.cat([logits(model, [S, *A]), logits(model, [S, *B])])
    torch.testing.assert_close(row, alone, rtol=0, atol=1e-6)
    other = logits(model, [S, *[(token + 1) % VOCABULARY for token in A], S, *B])
    assert torch.equal(other[len(A) + 1 :], row[len(A) + 1 :])  # not one bit of B
    assert not torch.allclose(other[: len(A) + 1], row[: len(A) + 1])


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_without_boundaries_a_document_sees_what_came_before(name: str) -> None:
    model = tiny(name).eval()
    row = logits(model, [S, *A, S, *B], boundaries=False)
    other = logits(model, [S, *[(token + 1) % VOCABULARY for token in A], S, *B], boundaries=False)
    assert not torch.allclose(other[len(A) + 1 :], row[len(A) + 1 :])


def test_loss_of_a_row_is_that_of_its_documents_alone() -> None:
    loss = TokenLoss(tiny().eval(), S, boundaries=True)
    with torch.no_grad():
        row, *alone = (
            loss.total(Batch(torch.tensor([ids]), None)) for ids in ([S, *A, S, *B, S], [S, *A, S], [S, *B, S])
        )
    torch.testing.assert_close(row, sum(alone))


def test_a_tokenizer_is_trained_the_same_each_time() -> None:
    first, second = (tokenizer_._train_bpe(documents("german"), 320).backend_tokenizer.to_str() for _ in range(2))
    assert first == second
    assert json.loads(first)["model"]["vocab"][SEPARATOR] == 0


@pytest.mark.parametrize(
    ("vocabulary", "eos", "bos", "expected"),
    [
        ({SEPARATOR: 3, "</s>": 1}, "</s>", "<s>", SEPARATOR),
        ({"</s>": 1}, "</s>", "<s>", "</s>"),
        ({"<s>": 1}, None, "<s>", "<s>"),
    ],
)
def test_which_token_separates(vocabulary: dict[str, int], eos: str | None, bos: str | None, expected: str) -> None:
    assert (
        tokenization._separator(SimpleNamespace(get_vocab=lambda: vocabulary, eos_token=eos, bos_token=bos)) == expected
    )


def test_a_tokenizer_without_any_separator_is_an_error() -> None:
    with pytest.raises(UserError, match=r"model\.tokenizer: has neither"):
        tokenization._separator(SimpleNamespace(get_vocab=dict, eos_token=None, bos_token=None))


def test_data_node_accounts_for_every_byte_and_token(tmp_path: Path, tokenizer: Any) -> None:
    text = "\n\n".join(documents("english"))
    (tmp_path / "english.txt").write_text(text, encoding="utf-8")
    (tmp_path / "one.yaml").write_text(
        "{summary: one, version: 1, split: {validation: 0.2, test: 0.2},"
        ' tasks: {english: {sources: [{source: files, path: english.txt, separator: "\\n\\n"}]}}}'
    )
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    out = tmp_path / "out"
    out.mkdir()
    local = {"scenario": str(tmp_path / "one.yaml"), "transforms": []}
    result = data.data({"task": "english", "transforms": []}, local, {"tokenizer": tmp_path / "tokenizer"}, out)
    assert sum(result["report"]["bytes"].values()) == len("".join(documents("english")).encode())
    for split in data.SPLITS:
        packed: Any = rows(out, "english", split, 8)
        assert packed.tokens.size == result["tokens"][split]
        assert int((packed.tokens == 0).sum()) == result["report"]["documents"][split] + 1
        inside = tokenizer.decode([token for token in packed.tokens.tolist() if token != 0])
        assert len(inside.encode()) == result["report"]["bytes"][split]
        expected = result["report"]["bytes"][split] / (packed.tokens.size - 1)
        assert bytes_per_token(result, split) == pytest.approx(expected)


def test_tokenizer_training_reads_no_more_than_its_share_of_a_task(monkeypatch: Any) -> None:
    splits = SimpleNamespace(train=["aaaa", "bbbb", "cccc"])
    defined = SimpleNamespace(task=lambda name: name)
    monkeypatch.setattr("cl.tasks.scenario.load", lambda name: defined)
    monkeypatch.setattr("cl.tasks.scenario.split", lambda task, scenario: splits)
    monkeypatch.setattr(tokenizer_, "TRAINING_BYTES", 9)
    assert list(tokenizer_._training_text({"one": "", "two": ""}, {"scenario": "any"})) == ["aaaa", "bbbb"] * 2
