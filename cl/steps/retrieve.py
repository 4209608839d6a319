"""Compute a retrieve node: the questions of a set, each behind what is stored, as a data set for a row of R.

Before the questions of an instruction task stand examples, before those of a reading task the documents to read.

The rows are those that a row of R measures without a memory, in the same order, so scores and losses of both compare
the same questions. Answers and what is learned of them stay as they are.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file

from cl.data import tokenization
from cl.data.shown_examples import Shown, Tokens, behind, fitted
from cl.graph.roles import QUERIES, TOKENIZER, Inputs, Role, data
from cl.graph.specs import row_length
from cl.graph.stored import result_of
from cl.methods import strategy
from cl.methods.retrieves import Recall, Retrieves, arranged, ranked, stored
from cl.models import pretrained
from cl.steps.evaluate import ANSWER_MARGIN
from cl.tasks.example import Example
from cl.tasks.splitting import normal
from cl.training.validation import window

if TYPE_CHECKING:
    from cl.graph.measurement_specs import RetrieveSpec
    from cl.steps.context import Context

Stored = tuple[str, int]
"""A stored example: its task, and its number among those that are stored of the task."""


def run(spec: RetrieveSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Store the measured rows of a split, each with what is shown before its question.

    Returns:
        Result of the data node; `window`: number of rows whose loss is measured, and largest number of their tokens;
        `memory`: figures of `cl.metrics.memories`. `shown.jsonl` names what stands before each question, as it is read.
    """
    method = strategy.build_method(spec.method, f"retrieval for {spec.set}")
    assert isinstance(method, Retrieves)
    folder, split = inputs[data(spec.set)], spec.split
    _, count = window(folder, spec.set, split, row_length(spec.packing, spec.set), spec.tokens)
    asked = tokenization.examples(folder, split)[: max(count, spec.items)]
    memory = _memory(inputs, method)
    began = time.perf_counter()
    about = _about(spec, inputs, method, memory)[: len(asked)]
    best = _best(method, spec, inputs, memory, asked, about)
    seconds = time.perf_counter() - began
    encode = _encoder(spec, method.order, inputs[TOKENIZER])
    alone = [encode(example, ()) for example in asked]
    room = spec.context - max(len(answer) for _, answer in alone) - ANSWER_MARGIN  # so the longest answer fits
    rows: list[Tokens] = []
    shown: list[list[Stored]] = []
    for place, (example, names) in enumerate(zip(asked, best, strict=True)):
        context.watcher.progress(place, len(asked))
        row, kept = fitted(example, [memory[name] for name in names], encode, room)
        rows.append(row)
        shown.append(names[:kept])
    save_file(_arrays(split, rows), context.out / "tokens.safetensors")
    known = json.loads((folder / f"{split}.examples.json").read_text(encoding="utf-8"))
    (context.out / f"{split}.examples.json").write_text(json.dumps(known[: len(asked)]), encoding="utf-8")
    lines = (json.dumps(arranged(names, method.order)) + "\n" for names in shown)
    (context.out / "shown.jsonl").write_text("".join(lines), encoding="utf-8")
    figures = {
        **_sizes(memory, inputs),
        **_shares(spec.set, best, shown),
        **_own_documents(list(memory), about, shown),
        "read": _mean([len(question) for question, _ in rows]),
        "alone": _mean([len(question) for question, _ in alone]),
        "seconds": seconds / len(asked),
    }
    return result_of(folder) | {"window": {"rows": count, "longest": spec.context}, "memory": figures}


def _encoder(spec: RetrieveSpec, order: str, folder: Path) -> Callable[[Example, Sequence[Shown]], Tokens]:
    """The function that returns the token ids of an example behind others, given best first."""
    tokenizer, separator = pretrained.stored_tokenizer(folder), result_of(folder)["separator_id"]
    chat = tokenization.chat_of(tokenizer, spec.system, spec.template)

    def encode(asked: Example, best: Sequence[Shown]) -> Tokens:
        whole = behind(asked, arranged(best, order), chat is not None)
        return tokenization.dialogue(whole, tokenizer, separator, chat)

    return encode


def _memory(inputs: Inputs, method: Retrieves) -> dict[Stored, Shown]:
    """The stored examples or documents in the order of learning."""
    found: dict[Stored, Shown] = {}
    for role in _placed(inputs, "memory"):
        kept = stored(tokenization.memorable(inputs[role]), method.budget)
        found |= {(str(role.name), number): example for number, example in enumerate(kept)}
    return found


def _about(spec: RetrieveSpec, inputs: Inputs, method: Retrieves, memory: Mapping[Stored, Shown]) -> list[int | None]:
    """Place in the memory of the document that each question is about; None for one that is not stored.

    Empty for a set without documents, or whose documents are not in the memory.
    """
    held = {str(role.name): inputs[role] for role in _placed(inputs, "memory")}
    numbers = tokenization.about(inputs[data(spec.set)], spec.split)
    if not numbers or spec.set not in held:
        return []
    kept = stored(range(len(tokenization.documents(held[spec.set]))), method.budget)
    names = {name: place for place, name in enumerate(memory)}
    places = {number: names[spec.set, index] for index, number in enumerate(kept)}
    return [places.get(number) for number in numbers]


def _placed(inputs: Inputs, kind: str) -> list[Role]:
    """Roles of a kind in their order."""
    return sorted((role for role in inputs if role.kind == kind), key=lambda role: role.place or 0)


def _best(
    method: Retrieves,
    spec: RetrieveSpec,
    inputs: Inputs,
    memory: Mapping[Stored, Shown],
    asked: Sequence[Example],
    about: Sequence[int | None] = (),
) -> list[list[Stored]]:
    """The best stored examples for each question, best first. The question itself is never shown with its answer."""
    texts = [text for one in memory.values() for text in tokenization.as_text(one)]
    vectors = [load_file(inputs[role] / "vectors.safetensors")["vectors"] for role in _placed(inputs, "vectors")]
    queries = load_file(inputs[QUERIES] / "vectors.safetensors")["vectors"][: len(asked)] if vectors else None
    stacked = np.concatenate(vectors) if vectors else None
    scores = method.scores(Recall(texts, [example.text for example in asked], stacked, queries, spec.seed, about))
    places: dict[str, list[int]] = {}
    for place, one in enumerate(memory.values()):
        places.setdefault(normal(one), []).append(place)
    for row, example in enumerate(asked):
        scores[row, places.get(normal(example), [])] = -np.inf
    names = list(memory)
    return [[names[place] for place in row] for row in ranked(scores, method.k)]


def _arrays(split: str, rows: Sequence[Tokens]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a split, as `cl.data.tokenization.arrays_of` makes them."""
    ids = [np.array([*question, *answer], dtype=np.int32) for question, answer in rows]
    return {
        split: np.concatenate(ids),
        f"{split}.starts": np.cumsum([0, *map(len, ids)], dtype=np.int64),
        f"{split}.answers": np.array([len(question) for question, _ in rows], dtype=np.int64),
    }


def _own_documents(
    names: Sequence[Stored], about: Sequence[int | None], shown: Sequence[Sequence[Stored]]
) -> dict[str, float]:
    """Share of the questions that stand behind the document they are about, if it could be there."""
    if not about:
        return {}
    own = [place is not None and names[place] in kept for place, kept in zip(about, shown, strict=True)]
    return {"own_document": _mean(own)}


def _sizes(memory: Mapping[Stored, Shown], inputs: Inputs) -> dict[str, float]:
    """Number of stored examples or documents, and their bytes: UTF-8 of the texts, and the vectors if there are any.

    Counts of words are made anew from the texts, so they are not stored.
    """
    text = sum(len(text.encode()) for one in memory.values() for text in tokenization.as_text(one))
    files = [load_file(inputs[role] / "vectors.safetensors")["vectors"] for role in _placed(inputs, "vectors")]
    return {"stored": len(memory), "bytes": text + sum(each.nbytes for each in files)}


def _shares(name: str, best: Sequence[Sequence[Stored]], shown: Sequence[Sequence[Stored]]) -> dict[str, float]:
    """Means per question of examples that are shown, and that were dropped for they did not fit.

    Also the share of the shown examples that are of the question's own task, if any is shown.
    """
    own = [task == name for names in shown for task, _ in names]
    return {
        "shown": _mean([len(names) for names in shown]),
        "dropped": _mean([len(wanted) - len(kept) for wanted, kept in zip(best, shown, strict=True)]),
        **({"own_task": _mean(own)} if own else {}),
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
