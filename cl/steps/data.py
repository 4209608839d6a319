"""Compute a data node: split a task's documents and tokenize each split."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import save_file

from cl.methods import strategy
from cl.tasks import scenario
from cl.tasks.example import Example

if TYPE_CHECKING:
    pass
from cl.data.tokenization import _arrays, _separator, as_text

SPLITS = ("train", "validation", "test")


def data(spec: dict[str, Any], local: dict[str, Any], inputs: dict[str, Path], out: Path) -> dict[str, Any]:
    """Execute a data node: split a task's documents and tokenize each split into flat arrays of int32.

    Examples of an instruction task are first transformed by the strategy's methods, and stored beside the arrays.
    spec holds what decides them, local the settings that build the methods.
    """
    from transformers import AutoTokenizer

    defined = scenario.load(local["scenario"])
    task = defined.task(spec["task"])
    splits = scenario.split(task, defined)
    found = AutoTokenizer.from_pretrained(inputs["tokenizer"])
    separator: int = found.get_vocab()[_separator(found)]
    parts = [_part(entry, task.name) for entry in local["transforms"]]
    kind = "text" if "view" in spec else task.kind
    arrays: dict[str, npt.NDArray[Any]] = {}
    styles: dict[str, dict[str, dict[str, int]]] = {}
    for name in SPLITS:
        documents = getattr(splits, name)
        for part in parts:
            documents = part.method.transform(documents, task.name, name)
        if "view" in spec:
            documents = [text for document in documents for text in as_text(document, both=spec["view"] == "both")]
        arrays |= _arrays(name, documents, found, separator, spec.get("system"))
        if kind != "text":
            stored = json.dumps([asdict(example) for example in documents])
            (out / f"{name}.examples.json").write_text(stored, encoding="utf-8")
        if kind == "instruction":
            styles[name] = _styles(documents, name, arrays) if documents else {}
    save_file(arrays, out / "tokens.safetensors")
    notes = {part.name: part.method.notes() for part in parts}
    return {
        "kind": kind,
        "tokens": {name: int(arrays[name].size) for name in SPLITS},
        "report": asdict(splits.report),
        "example": str(documents[0])[:500],
        "styles": styles,
        "transforms": notes,
        "warnings": [
            *(text for told in notes.values() for text in told.get("warnings", [])),
            *(_dominance(styles["train"], task.name) if parts and styles else []),
        ],
    }


def _part(entry: dict[str, Any], task: str) -> strategy.Part:
    ((name, settings),) = entry.items()
    return strategy.build_part(name, settings, f"{task}.{name}")


def _styles(documents: Sequence[Example], split: str, arrays: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """How many examples of each style a split has, and how many tokens of their answers, which are what is learned."""
    found: dict[str, dict[str, int]] = {}
    learned = np.diff(arrays[f"{split}.starts"]) - arrays[f"{split}.answers"]
    for example, tokens in zip(documents, learned, strict=True):
        counts = found.setdefault(example.style, {"examples": 0, "answer_tokens": 0})
        counts["examples"] += 1
        counts["answer_tokens"] += int(tokens)
    return found


def _dominance(styles: Mapping[str, Mapping[str, int]], task: str) -> list[str]:
    """A sentence where explanations hold more than half of what a split learns: the loss is a mean over tokens."""

    def share(count: str) -> float:
        long = sum(styles[style][count] for style in styles if style in ("brief", "detail"))
        return long / max(1, sum(counts[count] for counts in styles.values()))

    if share("answer_tokens") <= 0.5:
        return []
    parts = f"{share('examples'):.0%} of the training examples and {share('answer_tokens'):.0%} of the learned tokens"
    return [f"{task}: explanations are {parts}"]
