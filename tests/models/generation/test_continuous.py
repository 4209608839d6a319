"""Continuous batching: the answers are those of fixed batches, token by token, in fewer and shorter passes."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl.models import decoding
from cl.models.generation import continuous
from cl.models.generation.continuous import shared_length
from tests.models.test_decoding import LIMIT, PAD, sharp
from tests.support import families
from tests.support.training import VOCABULARY

ENDS = set(range(1, VOCABULARY, 9))  # answers end early and late
NEVER = VOCABULARY + 1

pytestmark = pytest.mark.filterwarnings("ignore")  # of transformers, about sizes that only toys have


def questions(common: int, count: int = 24, vocabulary: int = VOCABULARY) -> list[torch.Tensor]:
    """Questions of 1 to 14 tokens of their own behind some common tokens."""
    chance = torch.Generator().manual_seed(5)
    head = torch.randint(1, vocabulary, (common,), generator=chance)
    lengths = torch.randint(1, 15, (count,), generator=chance).tolist()
    return [torch.cat([head, torch.randint(1, vocabulary, (n,), generator=chance)]) for n in lengths]


def both(model: Any, asked: list[torch.Tensor], batch: int, ends: set[int], prompt: Any = None) -> tuple[Any, Any]:
    """Answers of fixed batches, and of continuous batching, up to their ends."""
    fixed = decoding._in_fixed_batches(model, asked, LIMIT, batch, ends, PAD, prompt, lambda done: None)
    found = decoding.answers(model, asked, LIMIT, batch, ends, PAD, prompt)
    return [decoding._until(ids, ends) for ids in fixed], found


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
@pytest.mark.parametrize("common", [0, 6])
@pytest.mark.parametrize("slots", [4, 64])
def test_answers_are_those_of_fixed_batches(
    name: str, common: int, slots: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(continuous, "MOST_ROWS", slots)
    model, asked = sharp(name), questions(common)
    fixed, found = both(model, asked, 2, ENDS)
    assert found == fixed
    assert len({len(ids) for ids in found}) > 4  # rows leave at different times


@pytest.mark.parametrize("family", ["gemma3_text", "qwen2", "gpt2"])
def test_windows_and_learned_positions_are_those_of_fixed_batches(family: str) -> None:
    model = families.model(family)
    asked = questions(9, count=12, vocabulary=families.VOCABULARY)
    fixed, found = both(model, asked, 2, {2, 9, 16, 23})
    assert found == fixed


@pytest.mark.parametrize("own", [False, True])
def test_embeddings_before_the_questions(own: bool) -> None:
    model, asked = sharp("llama-tiny"), questions(6)
    prompt = model.get_input_embeddings()(torch.tensor([3, 9, 27])).detach()
    if own:
        prompt = torch.stack([prompt * (1 + number / 10) for number in range(len(asked))])
    fixed, found = both(model, asked, 2, ENDS, prompt)
    assert found == fixed


def rows_of_passes(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """A list that gets rows and new columns of each forward pass."""
    passes: list[tuple[int, int]] = []
    forward = model.forward

    def counted(*args: Any, **settings: Any) -> Any:
        passes.append(tuple(settings["input_ids"].shape))
        return forward(*args, **settings)

    monkeypatch.setattr(model, "forward", counted)
    return passes


def test_rows_that_have_ended_leave_and_questions_enter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(continuous, "MOST_ROWS", 8)
    monkeypatch.setattr(continuous, "MOST_READ", 1)
    model, asked = sharp("llama-tiny"), questions(0)
    passes = rows_of_passes(model, monkeypatch)
    found = decoding.answers(model, asked, LIMIT, 2, ENDS, PAD)
    steps = [rows for rows, columns in passes if columns == 1]
    produced = sum(min(LIMIT, len(ids) + 1) for ids in found)  # an end is a token, too
    assert sum(steps) + len(asked) == produced  # no step of a row whose answer is whole
    assert max(steps) == 8
    assert {rows for rows, columns in passes if columns > 1} == {2}
    passes.clear()
    monkeypatch.setattr(continuous, "MOST_READ", 6 * max(map(len, asked)))
    assert decoding.answers(model, asked, LIMIT, 2, ENDS, PAD) == found
    assert max(rows for rows, columns in passes if columns > 1) == 6


def test_a_common_prefix_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = sharp("llama-tiny"), questions(40, count=8)
    passes = rows_of_passes(model, monkeypatch)
    decoding.answers(model, asked, LIMIT, 4, ENDS, PAD)
    assert passes[0] == (1, 40)
    assert max(columns for _, columns in passes[1:]) == max(map(len, asked)) - 40
    passes.clear()
    decoding.answers(model, asked[:2], LIMIT, 4, ENDS, PAD)
    assert passes[0][0] == 2  # too little to save


@pytest.mark.parametrize(
    ("texts", "expected"),
    [([], 0), ([[1, 2, 3]], 0), ([[1, 2, 3], [1, 2, 3]], 2), ([[1, 2, 3], [1, 2]], 1), ([[1, 2], [2, 2]], 0)],
)
def test_what_questions_share(texts: list[list[int]], expected: int) -> None:
    """A question keeps at least one token of its own."""
    assert shared_length([torch.tensor(ids) for ids in texts]) == expected


def test_an_answer_stops_where_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    model, asked = sharp("llama-tiny"), questions(0)
    free = decoding.answers(model, asked, LIMIT, 4, {NEVER}, PAD)
    passes = rows_of_passes(model, monkeypatch)
    found = decoding.answers(model, asked, LIMIT, 4, {NEVER}, PAD, stopped=lambda ids: len(ids) >= 3)
    assert found == [ids[:3] for ids in free]
    assert sum(rows for rows, columns in passes if columns == 1) == 2 * len(asked)


def test_progress_counts_ended_rows() -> None:
    seen: list[int] = []
    decoding.answers(sharp("llama-tiny"), questions(0), LIMIT, 4, ENDS, PAD, progress=seen.append)
    assert seen == sorted(set(seen))
    assert seen[-1] == 24
