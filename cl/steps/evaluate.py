"""Compute an evaluate node: the scores of a model on data sets, which are one row of the result matrix R.

The loss is summed in nats over all learned target tokens of fixed windows, in batches of a fixed size, in evaluation
mode. So a score depends on no order, and on no batch size except the recorded one. On instruction tasks the model also
generates answers, which are scored and stored.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from cl import registry
from cl.data.rows import DialogueRows, Rows, rows
from cl.data.tokenization import chat_of, dialogue, examples, passages
from cl.errors import UserError
from cl.graph.measurement_specs import EvaluateSpec
from cl.graph.roles import TOKENIZER, Inputs, data
from cl.graph.specs import row_length
from cl.graph.stored import identity_of, result_of
from cl.models import decoding, pretrained
from cl.models.forward import TokenLoss, autocast
from cl.steps import harness
from cl.steps.answering import Answerer, answering
from cl.steps.context import Context
from cl.tasks import option_orders
from cl.tasks.example import Example
from cl.tasks.task import ANSWERED
from cl.training.validation import bytes_per_token, opened, score, window

Asked = tuple[Example, torch.Tensor]
"""An example, and the token ids of the prompt that asks it."""
ANSWER_MARGIN = 8  # tokens
ANSWER_SCORES = "cl.tasks.answer_scores"


def run(spec: EvaluateSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Compute one row of R: the scores of a state on a split of every set.

    - Sets listed in `spec.select` use that adapter alone; others use the base model.
    - A model with a classifier answers with the classifier. Its loss is that of the language model, because a
      classifier gives no probability to future classes.
    - Bytes of text are the bytes of the whole split times the scored share of its tokens: exact for a whole split,
      otherwise at the split's mean bytes per token.
    - `spec.choice_orders` and `spec.repeat_context` change the prompts of answers; losses stay those of the rows.

    Returns:
        {"cells": {name: fields of `cl.metrics.records.Cell`}}; `items/NAME.jsonl` holds every answer of an instruction
        task with its scores.

    Raises:
        UserError: for several orders of options where no question lists its options.
    """
    if spec.choice_orders:
        _check_options(spec, inputs)
    lent = {each.name: each for each in spec.harness}
    names, cells = [*spec.sets, *lent], dict[str, dict[str, Any]]()
    for loss, own in opened(spec, inputs):
        with answering(loss, spec, inputs) as answerer:
            for name in own:
                context.watcher.progress(len(cells), len(names))
                if name in lent:
                    include = context.local.includes.get(name) if context.local is not None else None
                    cells[name] = harness.cell(loss, lent[name], inputs[TOKENIZER], include, spec.batch, spec.compute)
                else:
                    cells[name] = _cell(answerer, spec, inputs, name, context.out)
    return {"cells": {name: cells[name] for name in names}}


def _cell(answerer: Answerer, spec: EvaluateSpec, inputs: Inputs, name: str, out: Path) -> dict[str, Any]:
    """The scores of one data set."""
    loss, split, folder = answerer.loss, spec.split, inputs[data(name)]
    device, precision = spec.compute.device, spec.compute.precision
    windows, count = _window(loss, spec, folder, name)
    prefixes = _prefixes(folder)
    nll, tokens = score(loss, windows, count, spec.batch, device, precision, prefixes)
    cell: dict[str, Any] = {"nll": nll, "tokens": tokens, "bytes": bytes_of(folder, count, tokens, split)}
    if isinstance(windows, DialogueRows) and spec.items and result_of(folder)["kind"] in ANSWERED:
        asked = prompts(spec, inputs, name, windows)
        with autocast(device, precision):
            ends = {result_of(folder)["end_of_turn"], *decoding.stated_ends(loss.model)}
            items = answer(answerer, windows, asked, spec.scores, ends, prefixes)
        cell |= {"scores": means(items, spec.scores), "items": len(items)}
        cell |= {"orders": max(map(len, asked))} if spec.choice_orders else {}
        cell |= {"repeated": spec.repeat_context} if spec.repeat_context else {}
        _write(items, out / "items" / f"{name}.jsonl")
    return cell


def _window(loss: TokenLoss, spec: EvaluateSpec, folder: Path, name: str) -> tuple[Rows, int]:
    """All rows of a split, and the number of those that are measured.

    Behind stored examples, rows are longer than `packing.sequence`, and as many are measured as without examples.

    Raises:
        UserError: for rows that are longer than the model's context.
    """
    behind, limit = result_of(folder).get("window"), loss.backbone.context
    if behind is None:
        return window(folder, name, spec.split, row_length(spec.packing, name), spec.tokens)
    if limit is not None and behind["longest"] > limit:
        raise UserError(f"context: {behind['longest']} is more than the {limit} tokens that the model reads; lower it")
    return rows(folder, name, spec.split, behind["longest"]), behind["rows"]


def _prefixes(folder: Path) -> torch.Tensor | None:
    """Embeddings [questions, P, D] that a bank puts before the questions of a set. None: there is no bank."""
    found = folder / "prefixes.safetensors"
    return load_file(found)["prefixes"] if found.exists() else None


def bytes_of(folder: Path, count: int, tokens: int, split: str = "test") -> float:
    """UTF-8 bytes of the first rows of a split: exact for answers and for passages, estimated for text.

    Args:
        folder: folder of the data node.
        count: number of rows.
        tokens: learned tokens of these rows; of text, multiplied by the split's mean bytes per token.
        split: name of the split.
    """
    result = result_of(folder)
    if result["kind"] in ANSWERED:
        return float(sum(len(example.answer.encode()) for example in examples(folder, split)[:count]))
    if result["kind"] == "passage":
        return float(sum(len(passage.text.encode()) for passage in passages(folder, split)[:count]))
    return tokens * bytes_per_token(result, split)


def prompts(spec: EvaluateSpec, inputs: Inputs, name: str, windows: DialogueRows) -> list[list[Asked]]:
    """The first examples of a split with their prompts, each once for each order of its options.

    Without settings that change prompts, a prompt is the question of the row.

    Args:
        spec: the row of R.
        inputs: the node's parents.
        name: name of the set.
        windows: rows of the split.
    """
    folder = inputs[data(name)]
    asked = examples(folder, spec.split)[: spec.items]
    if not spec.choice_orders and not spec.repeat_context:
        return [[(example, windows.question(row))] for row, example in enumerate(asked)]
    tokenizer, made = pretrained.stored_tokenizer(inputs[TOKENIZER]), identity_of(folder)["spec"]
    chat = chat_of(tokenizer, made.get("system"), made.get("template", {}))
    separator = result_of(inputs[TOKENIZER])["separator_id"]

    def prompt(example: Example) -> torch.Tensor:
        text = "\n".join([example.question] * (spec.repeat_context or 1))
        return torch.tensor(dialogue(replace(example, question=text), tokenizer, separator, chat)[0])

    wanted = (option_orders.in_orders(example, spec.choice_orders or 1) for example in asked)
    return [[(each, prompt(each)) for each in several] for several in wanted]


def _check_options(spec: EvaluateSpec, inputs: Inputs) -> None:
    """Raises UserError if no question that is asked lists its options, or one lists them in an unknown form."""
    folders = [inputs[data(name)] for name in spec.sets]
    asked = [examples(folder, spec.split)[: spec.items] for folder in folders if result_of(folder)["kind"] in ANSWERED]
    listed = [option_orders.places(example) for several in asked for example in several]
    if not any(listed):
        raise UserError("evaluation.choice_orders: has no effect: no question lists its options; remove it")


def answer(
    answerer: Answerer,
    windows: DialogueRows,
    asked: Sequence[Sequence[Asked]],
    scores: Sequence[str],
    ends: Collection[int],
    prefixes: torch.Tensor | None = None,
) -> list[dict[str, Any]]:
    """Answer the first examples of a split and score the answers. A model with a classifier answers with it.

    A generated answer may have ANSWER_MARGIN tokens more than the longest reference.

    Args:
        answerer: answers the questions.
        windows: rows of the split.
        asked: the first examples of the split with their prompts, each in one or several orders of its options.
        scores: names of the scores.
        ends: ids of the tokens that end an answer.
        prefixes: embeddings [questions, P, D] that are read before each question. None: those of the model.

    Returns:
        Per example: question, reference, answer and scores. Of several orders: the first order's, the mean scores, and
        `orders` with each question, reference and answer.
    """
    questions = [prompt for several in asked for _, prompt in several]
    limit = int(max(windows.lengths[row] + 1 - windows.answers[row] for row in range(len(asked)))) + ANSWER_MARGIN
    own = None if prefixes is None else prefixes[: len(questions)]
    texts, items = iter(answerer.texts(questions, limit, ends, own)), []
    for several in asked:
        given = [_scored(next(texts), example, scores) for example, _ in several]
        about = [{key: each[key] for key in ("question", "reference", "answer")} for each in given]
        items.append({**about[0], **means(given, scores), **({"orders": about} if len(given) > 1 else {})})
    return items


def _scored(text: str, example: Example, scores: Sequence[str]) -> dict[str, Any]:
    """Question, reference, answer and scores of one answer."""
    given = {name: registry.member(ANSWER_SCORES, name, "score")(text, example) for name in scores}
    return {"question": example.question, "reference": example.answer, "answer": text, **given}


def means(items: Sequence[Mapping[str, Any]], scores: Sequence[str]) -> dict[str, float]:
    """Mean of each score over items."""
    return {name: math.fsum(item[name] for item in items) / len(items) for name in scores}


def _write(items: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write one JSON line per item."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
