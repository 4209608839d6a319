"""A toy stream of online adaptation: the form of answers, then two tasks of documents to read, and one never read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.instruction import EXPERIMENT

LETTERS = "abcdefghijklmnopqrst"
NAMES = [first + second for first in LETTERS for second in LETTERS[:5]]
SETS = {"form": NAMES[:20], "first": NAMES[20:32], "second": NAMES[32:44], "unread": NAMES[44:60], "meta": NAMES[60:]}


def document(name: str) -> str:
    """The document about a name."""
    return f"{name} lives in {place(name)} and eats figs."


def place(name: str) -> str:
    """Where a name lives."""
    return f"{name[1]}{name[0]}town"


def write_reading(folder: Path, meta: bool = False, **changes: Any) -> Path:
    """Scenario toy.yaml and experiment toyexp.yaml with `changes` merged in; returns the folder.

    Args:
        folder: where to write.
        meta: also give a general set of documents, for a bank of modulations.
        changes: settings of the experiment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for label, names in SETS.items():
        paragraphs = [
            {
                "context": document(name),
                "qas": [
                    {"question": f"Where is {name}?", "answers": [{"text": place(name)}]},
                    {"question": f"What eats {name}?", "answers": [{"text": "figs"}, {"text": "figs."}]},
                ],
            }
            for name in names
        ]
        content = {"data": [{"title": label, "paragraphs": paragraphs}]}
        (folder / f"{label}.json").write_text(json.dumps(content), encoding="utf-8")

    def task(label: str, form: str = "articles") -> dict[str, Any]:
        source = {"source": "question_sets", "of": "squad", "path": f"{label}.json", "form": form}
        return {"kind": "reading" if form == "articles" else "instruction", "sources": [source]}

    scenario = {
        "summary": "the form of answers, then documents to read",
        "version": 1,
        "tasks": {"form": task("form", "questions"), "first": task("first"), "second": task("second")},
        "retain": {"unread": task("unread")},
        **({"general": {"meta": task("meta")}} if meta else {}),
        "split": {"validation": 0.3, "test": 0.3},
    }
    (folder / "toy.yaml").write_text(yaml.safe_dump(scenario, sort_keys=False))
    base = EXPERIMENT | {"examples": {"form": 24, "first": 24, "second": 24}, "strategies": {"constant": None}}
    merged = {key: base[key] | value if key in ("train", "evaluation") else value for key, value in changes.items()}
    (folder / "toyexp.yaml").write_text(yaml.safe_dump(base | merged, sort_keys=False))
    return folder
