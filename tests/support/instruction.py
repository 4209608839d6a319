"""A toy stream of instructions: two tasks that a model of some 100,000 parameters learns in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

SCENARIO: dict[str, Any] = {
    "summary": "copy a word, then say which of two words a line holds",
    "version": 1,
    "tasks": {
        "copy": {"kind": "instruction", "sources": [{"source": "examples", "path": "copy.jsonl"}]},
        "which": {
            "kind": "instruction",
            "sources": [{"source": "examples", "path": "which.jsonl", "style": "label", "labels": ["Yes", "No"]}],
        },
    },
    "split": {"validation": 0.15, "test": 0.15},
}
EXPERIMENT: dict[str, Any] = {
    "question": "Does it run?",
    "scenario": "toy.yaml",
    "model": {"name": "llama-tiny", "vocabulary": 300},
    "examples": 8 * 6,
    "train": {"sequence": 64, "batch": 8, "lr": 3e-3, "precision": "fp32", "device": "cpu", "weight_decay": 0.0},
    "evaluation": {"tokens": 512, "items": 6, "probe_tokens": 128, "batch": 4, "points": 2, "share": 0.9},
    "tracking": {"uri": "none"},
    "strategies": {"lora_sequential": None},
}
LETTERS = "abcdefghijklmnopqrst"


def write_stream(folder: Path, **changes: Any) -> Path:
    """The toy stream and experiment `toyexp.yaml`, with `changes` merged in; returns the folder."""
    words = [first + second for first in LETTERS for second in LETTERS[:8]]
    copy = [{"question": f"copy {word}", "answer": word} for word in words]
    which = [{"question": f"{word} {'x' * (i % 2)}?", "answer": ("No", "Yes")[i % 2]} for i, word in enumerate(words)]
    for name, lines in (("copy", copy), ("which", which)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "toy.yaml").write_text(yaml.safe_dump(SCENARIO, sort_keys=False))
    content = EXPERIMENT | {
        key: EXPERIMENT[key] | value if key in ("train", "evaluation") else value for key, value in changes.items()
    }
    (folder / "toyexp.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder
