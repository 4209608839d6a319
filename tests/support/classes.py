"""A toy class-incremental stream: three tasks of two labels each, told apart by one word of the question."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.instruction import LETTERS, write_stream

LABELS = {"first": ("Red", "Blue"), "second": ("Oak", "Elm"), "third": ("Cat", "Dog")}
EVERY = [label for labels in LABELS.values() for label in labels]


def write_classes(folder: Path, **changes: Any) -> Path:
    """The stream and an experiment `toyexp.yaml` on it, with `changes` merged in; returns the folder."""
    write_stream(folder, **{"examples": 8 * 20, **changes})
    words = [first + second for first in LETTERS for second in LETTERS[:6]]
    tasks = {}
    for name, labels in LABELS.items():
        lines = [
            {"question": f"{word} {labels[i % 2].upper()}?", "answer": labels[i % 2]} for i, word in enumerate(words)
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        source = {"source": "examples", "path": f"{name}.jsonl", "style": "label", "labels": EVERY}
        tasks[name] = {"kind": "instruction", "sources": [source]}
    scenario = {
        "summary": "two labels a task",
        "version": 1,
        "tasks": tasks,
        "split": {"validation": 0.15, "test": 0.2},
    }
    (folder / "toy.yaml").write_text(yaml.safe_dump(scenario, sort_keys=False))
    return folder
