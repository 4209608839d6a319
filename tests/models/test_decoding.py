"""Greedy answers: neither batch nor padding changes one, and they end where they should. Samples, which are drawn."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cl.errors import UserError
from cl.models.decoding import answers, samples
from tests.support.training import VOCABULARY, tiny

END, PAD, LIMIT = 7, 0, 12


def questions(count: int = 9) -> list[torch.Tensor]:
    chance = torch.Generator().manual_seed(3)
    return [
        torch.randint(1, VOCABULARY, (int(n),), generator=chance)
        for n in torch.randint(1, 15, (count,), generator=chance)
    ]


def sharp(name: str) -> Any:
    """A fresh model whose next token is clear: its output layer is blown up."""
    model = tiny(name).eval()
    model.get_output_embeddings().weight.data *= 50
    return model


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
@pytest.mark.parametrize("batch", [1, 2, 4, 9])
def test_answers_depend_on_neither_batch_nor_padding(name: str, batch: int) -> None:
    model, asked = sharp(name), questions()
    alone = [answers(model, [question], LIMIT, 1, [END], PAD)[0] for question in asked]
    assert answers(model, asked, LIMIT, batch, [END], PAD) == alone
    assert answers(model, asked[::-1], LIMIT, batch, [END], PAD) == alone[::-1]


@pytest.mark.parametrize("name", ["llama-tiny", "neox-tiny"])
def test_a_prompt_stands_right_before_each_question_of_a_batch(name: str) -> None:
    model, asked = sharp(name), questions()
    ids = torch.tensor([3, 9, 27])
    prompt = model.get_input_embeddings()(ids).detach()
    expected = answers(model, [torch.cat([ids, question]) for question in asked], LIMIT, 1, [END], PAD)
    assert expected != answers(model, asked, LIMIT, 1, [END], PAD)
    for batch in (1, 4, 9):
        assert answers(model, asked, LIMIT, batch, [END], PAD, prompt) == expected


def test_each_token_is_the_likeliest() -> None:
    model, question = sharp("llama-tiny"), questions()[0]
    ids, expected = question[None], []
    for _ in range(LIMIT):
        with torch.no_grad():
            token = int(model(ids).logits[0, -1].argmax())
        if token == END:
            break
        expected.append(token)
        ids = torch.cat([ids, torch.tensor([[token]])], 1)
    assert answers(model, [question], LIMIT, 1, [END], PAD) == [expected]


def test_an_answer_ends_before_the_end_of_turn_or_at_the_limit() -> None:
    model, asked = sharp("llama-tiny"), questions()
    free = answers(model, asked, LIMIT, 4, [VOCABULARY + 1], PAD)
    assert all(len(found) == LIMIT for found in free)
    stop = free[0][2]
    found = answers(model, asked, LIMIT, 4, [stop], PAD)
    assert found[0] == free[0][: free[0].index(stop)]
    assert not any(stop in each for each in found)


def test_generation_settings_of_the_model_are_ignored() -> None:
    model, asked = sharp("llama-tiny"), questions()
    expected = answers(model, asked, LIMIT, 4, [END], PAD)
    kept = model.generation_config
    kept.do_sample, kept.temperature, kept.repetition_penalty, kept.suppress_tokens = True, 5.0, 9.0, expected[0][:1]
    assert answers(model, asked, LIMIT, 4, [END], PAD) == expected
    assert model.generation_config is kept


def test_no_room_for_an_answer_is_an_error() -> None:
    with pytest.raises(UserError, match="evaluation: 500 tokens of a question and 20 of its answer exceed 512"):
        answers(tiny(), [torch.ones(500, dtype=torch.int64)], 20, 1, [END], PAD)
    with pytest.raises(UserError, match="evaluation: 503 tokens of a question and 10 of its answer exceed 512"):
        answers(tiny(), [torch.ones(500, dtype=torch.int64)], 10, 1, [END], PAD, torch.zeros(3, 64))


OPENING = torch.tensor([3, 9, 27])


def drawn(model: Any, count: int = 6, batch: int = 4, seed: int = 0, limit: int = LIMIT) -> list[list[int]]:
    return samples(model, OPENING, count, limit, batch, PAD, seed)


def test_samples_follow_the_distribution_of_the_model() -> None:
    model = sharp("llama-tiny")
    model.get_output_embeddings().weight.data /= 3
    with torch.no_grad():
        expected = model(OPENING[None]).logits[0, -1].softmax(-1)
    count = 2000
    found = torch.bincount(torch.tensor([ids[0] for ids in drawn(model, count, 500, limit=1)]), minlength=VOCABULARY)
    deviation = (count * expected * (1 - expected)).sqrt()
    assert ((found - count * expected).abs() <= 4 * deviation + 1).all()
    assert (found > 0).sum() > 2


def test_samples_are_repeatable_whole_and_leave_no_trace() -> None:
    model = sharp("llama-tiny")
    before = torch.random.get_rng_state()
    first = drawn(model)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert drawn(model) == first != drawn(model, seed=1)
    assert len({tuple(ids) for ids in first}) > 1
    assert [len(ids) for ids in first] == [LIMIT] * 6  # no token ends one


def test_a_prompt_stands_before_the_opening_of_a_sample() -> None:
    model = sharp("llama-tiny")
    prompt = model.get_input_embeddings()(torch.tensor([5, 6])).detach()
    with_text = samples(model, torch.cat([torch.tensor([5, 6]), OPENING]), 3, 4, 3, PAD, 0)
    assert samples(model, OPENING, 3, 4, 3, PAD, 0, prompt) == with_text != samples(model, OPENING, 3, 4, 3, PAD, 0)


def test_settings_of_the_model_do_not_change_a_sample() -> None:
    model = sharp("llama-tiny")
    expected = drawn(model)
    kept = model.generation_config
    kept.top_k, kept.repetition_penalty, kept.eos_token_id, kept.suppress_tokens = 1, 5.0, expected[0][1], expected[1]
    assert drawn(model) == expected
    assert model.generation_config is kept


def test_no_room_for_a_sample_is_an_error() -> None:
    with pytest.raises(UserError, match="samples: 3 tokens of an opening and 510 of a sample exceed 512; ask for less"):
        drawn(tiny(), limit=510)
