"""Compute a data node: split a task's documents and tokenize each split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from cl.data import token_files
from cl.data.text_rounds import rounds
from cl.data.tokenization import arrays_of, as_text, chat_of, ending_of, separator_of
from cl.errors import UserError
from cl.graph.roles import TOKENIZER
from cl.methods import strategy
from cl.methods.method import TransformsData
from cl.models import pretrained
from cl.tasks import scenario
from cl.tasks.article import Article, places
from cl.tasks.documents import Document
from cl.tasks.example import Example
from cl.tasks.passage import Passage
from cl.tasks.task import ANSWERED

if TYPE_CHECKING:
    from pathlib import Path

    from cl.data.chat import Chat
    from cl.graph.roles import Inputs
    from cl.graph.specs import DataSpec
    from cl.registry import Named
    from cl.steps.context import Context
    from cl.tasks.splitting import Splits
    from cl.tasks.task import Task

SPLITS = ("train", "validation", "test")


def run(spec: DataSpec, inputs: Inputs, context: Context) -> dict[str, Any]:
    """Split a task's documents and tokenize each split into flat arrays of uint16, or uint32 for a large vocabulary.

    Text is encoded in rounds that a killed process goes on from. Examples of an instruction task are first transformed
    by the strategy's methods, and stored with the arrays. Of a task of kind `reading` the documents are stored without
    their questions, and the questions with their numbers.

    Returns:
        Kind, id of the token that ends an answer, tokens by split, report of the split, an example, counts by answer
        style, notes and warnings of the methods.
    """
    assert context.local is not None
    defined = scenario.load(context.local.scenario)
    task = defined.task(spec.task)
    splits = scenario.split(task, defined, context.work)
    found = pretrained.stored_tokenizer(inputs[TOKENIZER])
    separator: int = found.get_vocab()[separator_of(found)]
    methods = {named.name: _transforming(named, task.name) for named in context.local.transforms}
    kind = task.kind if spec.view is None else "text"
    chat = chat_of(found, spec.system, spec.template) if kind in (*ANSWERED, "preference") else None
    documents = {name: _documents(splits, name, task, methods, spec.view) for name in SPLITS}
    styles: dict[str, dict[str, dict[str, int]]] = {}
    if kind == "text":
        tokens = _pack(documents, found, separator, context)
    else:
        _check_twins(splits.train, task.name)
        arrays = _arrays(documents, found, separator, chat)
        if kind == "reading":
            arrays |= _about(splits.train, documents)
        save_file(_narrow(arrays, found), context.out / token_files.FILE)
        tokens = {name: int(arrays[name].size) for name in SPLITS}
        _store(documents, kind, context.out)
        if kind == "instruction":
            styles = {name: _styles(part, name, arrays) if part else {} for name, part in documents.items()}
    notes = {name: method.notes() for name, method in methods.items()}
    return {
        "kind": kind,
        "end_of_turn": None if kind in ("text", "passage") else ending_of(found, separator, chat)[-1],
        "tokens": tokens,
        "report": asdict(splits.report),
        "example": str(documents["test"][0])[:500],
        "styles": styles,
        "transforms": notes,
        "warnings": [
            *(text for told in notes.values() for text in told.get("warnings", [])),
            *(_dominance(styles["train"], task.name) if methods and styles else []),
        ],
    }


def _documents(
    splits: Splits, name: str, task: Task, methods: Mapping[str, TransformsData], view: str | None
) -> Sequence[Any]:
    """Documents of a split as they are encoded. Text as it is stays on disk."""
    documents: Any = getattr(splits, name)
    if task.kind != "text" or methods:
        documents = list(documents)
    _check_turns(documents, methods, task.name)
    for method in methods.values():
        documents = method.transform(documents, task.name, name)
    if view is not None:
        documents = [text for document in documents for text in as_text(document, both=view == "both")]
    found: Sequence[Any] = documents
    return found


def _pack(documents: Mapping[str, Sequence[Any]], tokenizer: Any, separator: int, context: Context) -> dict[str, int]:
    """Store packed text, and return the tokens of each split."""
    file = token_files.Growing(context.work / "tokens", token_files.kind_of_ids(tokenizer))
    before, total = 0, sum(map(len, documents.values()))
    for name in SPLITS:
        for done, ids in rounds(documents[name], tokenizer, separator, file.begin(name)):
            file.append(name, ids, done)
            context.watcher.progress(before + done, total)
        before += len(documents[name])
    return file.finish(context.out / token_files.FILE)


def _arrays(
    documents: Mapping[str, Sequence[Any]], tokenizer: Any, separator: int, chat: Chat | None
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of all splits."""
    parts = [arrays_of(name, documents[name], tokenizer, separator, chat) for name in SPLITS]
    return {name: array for part in parts for name, array in part.items()}


def _narrow(arrays: Mapping[str, npt.NDArray[Any]], tokenizer: Any) -> dict[str, npt.NDArray[Any]]:
    """The arrays with token ids in the smallest type; other numbers stay as they are."""
    kind = token_files.kind_of_ids(tokenizer)
    return {name: array.astype(kind) if array.dtype == np.int32 else array for name, array in arrays.items()}


def _about(studied: Sequence[Document], asked: Mapping[str, Sequence[Example]]) -> dict[str, npt.NDArray[np.int64]]:
    """Number of the document that each question of a measured split is about; empty if no document is studied."""
    about = places([document for document in studied if isinstance(document, Article)])
    measured = SPLITS[1:] if about else ()
    return {f"{name}.about": np.array([about[each.text] for each in asked[name]], np.int64) for name in measured}


def _store(documents: Mapping[str, Sequence[Any]], kind: str, folder: Path) -> None:
    """Store examples and passages by split, and documents to read without their questions."""
    for name in SPLITS:
        if kind == "reading" and name == "train":
            texts = json.dumps([str(document) for document in documents[name]])
            (folder / "train.documents.json").write_text(texts, encoding="utf-8")
        else:
            stored = json.dumps([asdict(example) for example in documents[name]])
            (folder / f"{name}.examples.json").write_text(stored, encoding="utf-8")


def _check_turns(documents: Sequence[Document], methods: Mapping[str, TransformsData], task: str) -> None:
    """Raises UserError for dialogues that a method would rewrite as single questions."""
    if methods and any(isinstance(document, Example) and document.history for document in documents):
        raise UserError(
            f"{task}: {next(iter(methods))} rewrites single questions, and the set has dialogues; leave it out"
        )


def _check_twins(studied: Sequence[Document], task: str) -> None:
    """Raises UserError for a passage whose twin is studied too, as the text of another passage."""
    passages = [document for document in studied if isinstance(document, Passage)]
    texts = {passage.text for passage in passages}
    if both := [passage.twin for passage in passages if passage.twin in texts]:
        raise UserError(f"{task}: the twin {both[0][:60]!r} is also a passage to study; draw other twins")


def _transforming(named: Named, task: str) -> TransformsData:
    """Build a transforming method."""
    method = strategy.build_method(named, task)
    assert isinstance(method, TransformsData)
    return method


def _styles(documents: Sequence[Example], split: str, arrays: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """Number of examples, and of learned tokens (those of answers), by answer style in a split."""
    found: dict[str, dict[str, int]] = {}
    learned = np.diff(arrays[f"{split}.starts"]) - arrays[f"{split}.answers"]
    for example, tokens in zip(documents, learned, strict=True):
        counts = found.setdefault(example.style, {"examples": 0, "answer_tokens": 0})
        counts["examples"] += 1
        counts["answer_tokens"] += int(tokens)
    return found


def _dominance(styles: Mapping[str, Mapping[str, int]], task: str) -> list[str]:
    """A warning if more than half of the learned tokens are explanations, because the loss averages over tokens."""

    def share(count: str) -> float:
        long = sum(styles[style][count] for style in styles if style in ("brief", "detail"))
        return long / max(1, sum(counts[count] for counts in styles.values()))

    if share("answer_tokens") <= 0.5:
        return []
    parts = f"{share('examples'):.0%} of the training examples and {share('answer_tokens'):.0%} of the learned tokens"
    return [f"{task}: explanations are {parts}"]
