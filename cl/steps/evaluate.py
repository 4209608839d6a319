"""Scores of a model on data sets: a row of the result matrix R, and the short look inside a task.

Loss is summed in nats over all learned target tokens of fixed windows, in a fixed batch size, in evaluation mode; so
a score depends on neither the order nor the batch in which it is computed beyond what is recorded. Instruction tasks
are scored by what the model answers as well, and every answer is kept.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from cl.config.train import Train
from cl.data.batches import DialogueRows
from cl.data.tokenization import end_of_turn, examples
from cl.graph.stored import result_of
from cl.models import adapters, classifier_head, decoding
from cl.models.forward import TokenLoss, autocast
from cl.probes import linear
from cl.tasks import answer_scoring
from cl.tasks.example import Example
from cl.training.validation import bytes_per_token, score, window

ANSWER_ROOM = 8  # tokens
SCORES = ("strict", "normalised", "format_ok")


def evaluate(
    spec: dict[str, Any],
    inputs: dict[str, Path],
    out: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """Execute an evaluate node: one row of R on the test split of every data set, or on the split that is specified.

    Adapters are merged for it where they can be. With `select` in the specification, {set: adapter}, a set is answered
    with its own adapter alone, and one that has none by the base model. A model with a classifier answers by it, while
    its loss is still that of the language model below it: of classes to come a classifier has no probability. Returns
    {"cells": {name: fields of `cl.metrics.records.Cell`}}; `items/NAME.jsonl` holds every answer of an instruction
    task with its scores. bytes of text are those of the whole split times the share of its tokens that was scored:
    exact for a whole split, and the mean rate of bytes per token otherwise.
    """
    select: Mapping[str, str] = spec.get("select", {})
    cells: dict[str, dict[str, Any]] = {}
    for adapter in dict.fromkeys(select.get(name) for name in spec["sets"]):
        loss = _opened(spec, inputs, adapter)
        own = [name for name in spec["sets"] if select.get(name) == adapter]
        for name in own:
            progress(len(cells), len(spec["sets"]))
            cells[name] = _cell(loss, spec, inputs, name, out)
        for name, value in _probed(loss, spec, inputs).items():
            if name in own:
                cells[name]["scores"]["probing"] = value
        del loss  # before the next model is opened
    return {"cells": {name: cells[name] for name in spec["sets"]}}


def _opened(spec: Mapping[str, Any], inputs: Mapping[str, Path], adapter: str | None) -> TokenLoss:
    """The model that is scored: the state, or where sets have adapters of their own, the base model with this one."""
    if "select" in spec:
        found = adapters.alone(inputs["state"], inputs["base"], adapter)
    else:
        found = adapters.load(inputs["state"], inputs.get("base"))
    model = (adapters.merged(found) if adapters.mergeable(found) else found).to(spec["device"]).eval()
    model.requires_grad_(True)  # nothing is trained here, but autocast keeps the casts of such weights only
    return TokenLoss(model, result_of(inputs["tokenizer"])["separator_id"], Train(**spec["train"]).boundaries)


def _cell(loss: TokenLoss, spec: Mapping[str, Any], inputs: Mapping[str, Path], name: str, out: Path) -> dict[str, Any]:
    """The scores of one data set."""
    split = spec.get("split", "test")
    folder, device, precision = inputs[f"data/{name}"], spec["device"], spec["precision"]
    windows, count = window(folder, name, split, Train(**spec["train"]).sequence, spec["tokens"])
    nll, tokens = score(loss, windows, count, spec["batch"], device, precision)
    cell: dict[str, Any] = {"nll": nll, "tokens": tokens, "bytes": bytes_of(folder, count, tokens, split)}
    if isinstance(windows, DialogueRows) and spec["items"]:
        asked = examples(folder, split)[: spec["items"]]
        with autocast(device, precision):
            items = answer(loss, inputs["tokenizer"], windows, asked, spec["batch"])
        cell |= {"scores": means(items), "items": len(items)}
        _write(items, out / "items" / f"{name}.jsonl")
    return cell


def _probed(loss: TokenLoss, spec: Mapping[str, Any], inputs: Mapping[str, Path]) -> dict[str, float]:
    """How well a linear classifier tells the classes apart, by task; empty where nobody asked."""
    if "probing" not in spec:
        return {}
    folders = {name: inputs[f"data/{name}"] for name in spec["probing"]}
    sizes = {"items": spec["items"], "sequence": Train(**spec["train"]).sequence, "batch": spec["batch"]}
    with autocast(spec["device"], spec["precision"]):
        return linear.scores(loss.outputs, folders, separator=loss.separator, device=spec["device"], **sizes)


def bytes_of(folder: Path, count: int, tokens: int, split: str = "test") -> float:
    """UTF-8 bytes of the first `count` rows of a split, which have so many learned tokens.

    Of examples the answers'; of text at the split's mean rate.
    """
    result = result_of(folder)
    if result["kind"] == "instruction":
        return float(sum(len(example.answer.encode()) for example in examples(folder, split)[:count]))
    return tokens * bytes_per_token(result, split)


def answer(
    loss: TokenLoss, tokenizer: Path, windows: DialogueRows, asked: Sequence[Example], batch: int
) -> list[dict[str, Any]]:
    """What the model answers to the first examples of a split, with its scores: its classifier, where it has one.

    An answer may have ANSWER_ROOM tokens more than the longest reference.
    """
    from transformers import AutoTokenizer

    found = AutoTokenizer.from_pretrained(tokenizer)
    rows = range(len(asked))
    questions = [windows.question(row) for row in rows]
    head, end = classifier_head.of(loss.model), end_of_turn(found, loss.separator)
    if head is not None:
        device = str(loss.model.device)
        produced = head.answers(classifier_head.of_questions(loss.outputs, questions, loss.separator, batch, device))
    else:
        limit = int(max(windows.lengths[row] + 1 - windows.answers[row] for row in rows)) + ANSWER_ROOM
        with torch.no_grad():
            prompt = adapters.prompt(loss.model)
        reader = adapters.reader(loss.model)
        produced = decoding.answers(reader, questions, limit, batch, end, loss.separator, prompt)
    items = []
    for example, ids in zip(asked, produced, strict=True):
        text = str(found.decode(ids, skip_special_tokens=True))
        scores = {
            "strict": answer_scoring.strict(text, example),
            "normalised": answer_scoring.normalised(text, example),
            "format_ok": float(answer_scoring.format_ok(text, example)),
        }
        items.append({"question": example.question, "reference": example.answer, "answer": text, **scores})
    return items


def means(items: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean of each score over items."""
    return {name: math.fsum(item[name] for item in items) / len(items) for name in SCORES}


def _write(items: Sequence[Mapping[str, Any]], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
