"""A toy stream of text and of questions that list their options, learned by a chat model and probed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from cl.config.model import Model
from cl.data.tokenization import SEPARATOR
from cl.models import pretrained
from tests.data.test_chat import CHATML, made
from tests.support import training
from tests.support.instruction import LETTERS

QUESTIONS: dict[str, Any] = {"source": "examples", "path": "which.jsonl", "style": "label", "labels": ["Yes", "No"]}
PROBES: dict[str, Any] = {
    "function_tokens": {"rows": 8},
    "segment_order": {"segment": 5, "excerpt": 20, "pairs": 6, "repeat_context": 2},
    "template_extraction": {"samples": 6, "tokens": 24},
}


def write_probed(folder: Path, **changes: Any) -> Path:
    """The stream and experiment `toyexp.yaml`, with `changes` merged in; returns the folder."""
    training.write_toy(folder)
    words = [first + second for first in LETTERS for second in LETTERS[:6]]
    lines = [
        {"question": f"Has {word} {'x' * (i % 2)} an x: Yes, No?", "answer": ("No", "Yes")[i % 2]}
        for i, word in enumerate(words)
    ]
    (folder / "which.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    tasks = {"english": training.SCENARIO["tasks"]["english"], "which": {"kind": "instruction", "sources": [QUESTIONS]}}
    (folder / "toy.yaml").write_text(yaml.safe_dump(training.SCENARIO | {"tasks": tasks}, sort_keys=False))
    content = training.EXPERIMENT | {
        "model": {"name": str(chat_model(folder / "model"))},
        "tokens": 4 * 64 * 6,
        "examples": 4 * 6,
        "train": training.EXPERIMENT["train"] | {"sequence": 64},
        "evaluation": training.EXPERIMENT["evaluation"] | {"items": 4, "choice_orders": 2, "repeat_context": 2},
        "probes": PROBES,
    }
    (folder / "toyexp.yaml").write_text(yaml.safe_dump(content | changes, sort_keys=False))
    return folder


def chat_model(folder: Path) -> Path:
    """A fresh tiny model with a chat template, in a directory."""
    tokenizer = made(CHATML)
    tokenizer.save_pretrained(folder)
    separator = tokenizer.get_vocab()[SEPARATOR]
    pretrained.save(pretrained.create(Model(name="llama-tiny"), len(tokenizer), separator, 0, sequence=64), folder)
    return folder
