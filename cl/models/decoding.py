"""Greedy decoding of answers to questions; and samples that continue one text.

Rows are padded on the left. Padding is masked out of attention and positions, so an answer depends on the questions
beside it by no more than rounding. Rows that have ended are replaced by further questions
(`cl.models.generation.continuous`).
Where an architecture would read the padding, or cannot cache, questions are answered in fixed batches of one length. A
prompt is placed between padding and question; peft's own `generate` puts the prompt before the padding, which separates
prompt and question. The batch size is a setting and part of the node key.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from cl.errors import UserError
from cl.models import backbone
from cl.models.generation import continuous

GREEDY: dict[str, Any] = {"do_sample": False}
SAMPLED: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def answers(
    model: Any,
    questions: Sequence[Tensor],
    limit: int,
    batch: int,
    ends: Collection[int],
    padding: int,
    prompt: Tensor | None = None,
    progress: Callable[[int], None] = lambda done: None,
    stopped: Callable[[list[int]], bool] | None = None,
) -> list[list[int]]:
    """Return the token ids of the answer to each question, without its end of turn, in the order of the questions.

    Every token is the most likely token, whatever the model's generation settings say: no sampling, no penalty for
    repetition, no suppressed tokens.

    Args:
        model: transformers model without its prompt.
        questions: token ids [n] of each question.
        limit: largest number of tokens of an answer.
        batch: questions per batch.
        ends: ids of the tokens that end an answer.
        padding: id of the padding token.
        prompt: embeddings that are read before each question: the same [P, D], or of its own [questions, P, D].
        progress: called with the number of answered questions, whenever it has grown.
        stopped: whether an answer is whole without an end, after the tokens it is given. It may go on nevertheless.

    Raises:
        UserError: if a question with its answer may exceed the model's context.
    """
    able = backbone.of(model)
    longest = max((len(question) for question in questions), default=0) + (0 if prompt is None else prompt.shape[-2])
    if able.context is not None and longest + limit > able.context:
        raise UserError(f"evaluation: {longest} tokens of a question and {limit} of its answer exceed {able.context}")

    def done(ids: list[int]) -> bool:
        return ids[-1] in ends or (stopped is not None and stopped(ids))

    if able.padding == "left" and able.caches:
        found = continuous.answers(model, questions, limit, batch, done, padding, prompt, progress)
    else:
        found = _in_fixed_batches(model, questions, limit, batch, ends, padding, prompt, progress)
    return [_until(ids, ends) for ids in found]


def _in_fixed_batches(
    model: Any,
    questions: Sequence[Tensor],
    limit: int,
    batch: int,
    ends: Collection[int],
    padding: int,
    prompt: Tensor | None,
    progress: Callable[[int], None],
) -> list[list[int]]:
    """Answers in batches that end with their longest answer, for architectures with states that are no columns."""
    alike = backbone.of(model).padding == "none"
    order = sorted(range(len(questions)), key=lambda index: (len(questions[index]), index), reverse=True)
    found: dict[int, list[int]] = {}
    for chosen in batches(order, [len(question) for question in questions], batch, alike):
        own = prompt if prompt is None or prompt.dim() == 2 else prompt[list(chosen)]
        produced = _produced(model, [questions[index] for index in chosen], limit, ends, padding, own, GREEDY)
        found |= zip(chosen, produced, strict=True)
        progress(len(found))
    return [found[index] for index in range(len(questions))]


def samples(
    model: Any,
    opening: Tensor,
    count: int,
    limit: int,
    batch: int,
    padding: int,
    seed: int,
    prompt: Tensor | None = None,
) -> list[list[int]]:
    """Draw continuations of a text from the model's own distribution, at temperature 1 and without truncation.

    No token ends a sample: the caller cuts it. The model's generation settings are not applied, penalties included, and
    the state of every random generator is restored. Samples depend on `batch`, which is in the node's key.

    Args:
        model: transformers model without its prompt.
        opening: token ids [n] of the text.
        count: number of samples.
        limit: number of tokens of a sample.
        batch: samples per batch.
        padding: id of the padding token.
        seed: seed of the draws.
        prompt: embeddings [P, D] that are read before the text.

    Raises:
        UserError: if the text with a sample exceeds the model's context.
    """
    context, longest = backbone.of(model).context, len(opening) + (0 if prompt is None else len(prompt))
    if context is not None and longest + limit > context:
        raise UserError(
            f"samples: {longest} tokens of an opening and {limit} of a sample exceed {context}; ask for less"
        )
    found: list[list[int]] = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        while len(found) < count:
            openings = [opening] * min(batch, count - len(found))
            found += _produced(model, openings, limit, (), padding, prompt, SAMPLED)
    return found


@contextmanager
def unset(model: Any) -> Iterator[None]:
    """Context in which a model has no generation settings; transformers takes from them what a call leaves open."""
    from transformers import GenerationConfig

    kept = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = kept


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


def _produced(
    model: Any,
    questions: Sequence[Tensor],
    limit: int,
    ends: Collection[int],
    padding: int,
    prompt: Tensor | None,
    drawing: dict[str, Any],
) -> list[list[int]]:
    """Token ids that follow each text of a batch; the longest text comes first. drawing: how a token is chosen."""
    from transformers import GenerationConfig

    room = 0 if prompt is None else prompt.shape[-2]
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
        num_beams=1,
        **drawing,
        eos_token_id=sorted(ends) or None,
        pad_token_id=padding,
        use_cache=caches,
    )
    with torch.no_grad(), unset(model):
        if prompt is None:
            out = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)[:, width:]
        else:  # from embeddings, `generate` returns the new tokens only
            embedded = model.get_input_embeddings()(ids)
            for row, start in enumerate(starts):
                embedded[row, start : start + room] = prompt if prompt.dim() == 2 else prompt[row]
            out = model.generate(inputs_embeds=embedded, attention_mask=mask, generation_config=config)
    answers: list[list[int]] = out.tolist()
    return answers


def _until(ids: list[int], ends: Collection[int]) -> list[int]:
    return ids[: next((place for place, token in enumerate(ids) if token in ends), len(ids))]


def stated_ends(model: Any) -> set[int]:
    """Ids of the tokens that end a text by the model's own generation settings."""
    stated = getattr(getattr(model, "generation_config", None), "eos_token_id", None)
    return set(stated if isinstance(stated, list) else [] if stated is None else [stated])
