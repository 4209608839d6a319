"""Greedy decoding of answers to questions, in fixed batches.

Questions are sorted by length and padded on the left, so that batches hold little padding; the order depends on the
questions only. Padding is masked out of attention and positions, so an answer depends on its batch by no more than
rounding. Where an architecture would read the padding, a batch has questions of one length. A prompt is placed between
padding and question; peft's own `generate` puts the prompt before the padding, which separates prompt and question. The
batch size is a setting and part of the node key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from cl.errors import UserError
from cl.models import backbone


def answers(
    model: Any,
    questions: Sequence[Tensor],
    limit: int,
    batch: int,
    ends: Collection[int],
    padding: int,
    prompt: Tensor | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[int]]:
    """Return the token ids of the answer to each question, without its end of turn, in the order of the questions.

    Every token is the most likely token, whatever the model's generation settings say about sampling.

    Args:
        model: transformers model without its prompt.
        questions: token ids [n] of each question.
        limit: largest number of tokens of an answer.
        batch: questions per batch.
        ends: ids of the tokens that end an answer.
        padding: id of the padding token.
        prompt: embeddings [P, D] that are read before each question.
        progress: called after each batch with the number of answered questions.

    Raises:
        UserError: if a question with its answer may exceed the model's context.
    """
    able = backbone.of(model)
    longest = max((len(question) for question in questions), default=0) + (0 if prompt is None else len(prompt))
    if able.context is not None and longest + limit > able.context:
        raise UserError(f"evaluation: {longest} tokens of a question and {limit} of its answer exceed {able.context}")
    order = sorted(range(len(questions)), key=lambda index: (len(questions[index]), index), reverse=True)
    found: dict[int, list[int]] = {}
    for chosen in batches(order, [len(question) for question in questions], batch, able.padding == "none"):
        produced = _greedy(model, [questions[index] for index in chosen], limit, ends, padding, prompt)
        found |= {index: _until(ids, ends) for index, ids in zip(chosen, produced, strict=True)}
        progress(len(found))
    return [found[index] for index in range(len(questions))]


def batches(order: Sequence[int], lengths: Sequence[int], batch: int, alike: bool) -> Iterator[Sequence[int]]:
    """Yield batches of questions.

    Args:
        order: numbers of the questions.
        lengths: number of tokens of each question.
        batch: largest number of questions per batch.
        alike: the questions of a batch have one length; batches are then sorted by length, longest first.
    """
    groups = [list(order)]
    if alike:
        longest_first = sorted(order, key=lengths.__getitem__, reverse=True)
        groups = [list(group) for _, group in groupby(longest_first, key=lengths.__getitem__)]
    for group in groups:
        for start in range(0, len(group), batch):
            yield group[start : start + batch]


def _greedy(
    model: Any, questions: Sequence[Tensor], limit: int, ends: Collection[int], padding: int, prompt: Tensor | None
) -> list[list[int]]:
    from transformers import GenerationConfig

    room = 0 if prompt is None else len(prompt)
    width = room + len(questions[0])  # the longest comes first
    starts = [width - room - len(question) for question in questions]
    ids = torch.full((len(questions), width), padding)
    mask = torch.zeros_like(ids)
    for row, (start, question) in enumerate(zip(starts, questions, strict=True)):
        ids[row, start + room :] = question
        mask[row, start:] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    caches = backbone.of(model).caches
    config = GenerationConfig(
        max_new_tokens=limit,
        do_sample=False,
        num_beams=1,
        eos_token_id=sorted(ends),
        pad_token_id=padding,
        use_cache=caches,
    )
    with torch.no_grad():
        if prompt is None:
            out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, width:]
        else:  # from embeddings, `generate` returns the new tokens only
            embedded = model.get_input_embeddings()(ids)
            for row, start in enumerate(starts):
                embedded[row, start : start + room] = prompt
            out = model.generate(inputs_embeds=embedded, attention_mask=mask, generation_config=config)
    answers: list[list[int]] = out.tolist()
    return answers


def _until(ids: list[int], ends: Collection[int]) -> list[int]:
    return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]


def stated_ends(model: Any) -> set[int]:
    """Ids of the tokens that end a text by the model's own generation settings."""
    stated = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return set(stated if isinstance(stated, list) else [] if stated is None else [stated])
