"""Greedy answers of a model to questions, in fixed batches.

Questions are sorted by length and padded on the left, so that a batch wastes little; the order depends on nothing but
the questions. What is padding is masked out of attention and positions, so an answer depends on its batch by no more
than rounding; a prompt stands between padding and question, not before both as in peft's own `generate`, which would
move them apart; the size of the batch is fixed by the settings and stands in the key.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from cl.errors import UserError


def answers(
    model: Any,
    questions: Sequence[Tensor],
    limit: int,
    batch: int,
    end: int,
    padding: int,
    prompt: Tensor | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> list[list[int]]:
    """Token ids of the answer to each question, without its end of turn, in the order of the questions.

    questions: ids [n] each; limit: tokens of an answer at most; batch: questions at once; end: id that ends an answer;
    prompt: embeddings [P, D] that are read before each question.
    Every token is the most likely one, whatever sampling the model's own generation settings ask for.
    Raises UserError for a question that leaves no room for an answer in the model's context.
    """
    context = getattr(model.config, "max_position_embeddings", None)
    longest = max((len(question) for question in questions), default=0) + (0 if prompt is None else len(prompt))
    if context is not None and longest + limit > context:
        raise UserError(f"evaluation: {longest} tokens of a question and {limit} of its answer exceed {context}")
    order = sorted(range(len(questions)), key=lambda index: (len(questions[index]), index), reverse=True)
    found: dict[int, list[int]] = {}
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        produced = _greedy(model, [questions[index] for index in chosen], limit, end, padding, prompt)
        found |= {index: _until(ids, end) for index, ids in zip(chosen, produced, strict=True)}
        progress(len(found))
    return [found[index] for index in range(len(questions))]


def _greedy(
    model: Any, questions: Sequence[Tensor], limit: int, end: int, padding: int, prompt: Tensor | None
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
    config = GenerationConfig(
        max_new_tokens=limit, do_sample=False, num_beams=1, eos_token_id=end, pad_token_id=padding, use_cache=True
    )
    with torch.no_grad():
        if prompt is None:
            out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, width:]
        else:  # what is generated from embeddings comes without them
            embedded = model.get_input_embeddings()(ids)
            for row, start in enumerate(starts):
                embedded[row, start : start + room] = prompt
            out = model.generate(inputs_embeds=embedded, attention_mask=mask, generation_config=config)
    answers: list[list[int]] = out.tolist()
    return answers


def _until(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end)] if end in ids else ids
