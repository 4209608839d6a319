"""A toy in which passages are studied before English is learned."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import yaml

from tests.support.training import SCENARIO, write_toy

WORDS = [
    "lime", "pear", "plum", "fig", "date", "kiwi", "corn", "bean", "rice", "oats", "sage", "mint", "dill", "leek",
    "kale", "beet",
]  # fmt: skip


def write_study(folder: Path, **changes: Any) -> Path:
    """Scenario toy.yaml with passages of three words and their twins, and experiment toyexp.yaml."""
    write_toy(folder, **{"examples": 96, "probes": {"recognition": None, "recall": {"items": 6}}, **changes})
    pairs = [(f"{a} {b} {c}", f"{c} {b} {a}") for a, b, c in zip(WORDS, WORDS[5:], WORDS[9:], strict=False)]
    pairs += [(f"{a} {b} {a}", f"{b} {a} {b}") for a, b in itertools.pairwise(WORDS)]
    rows = "".join(json.dumps({"text": text, "twin": twin}) + "\n" for text, twin in pairs)
    (folder / "pairs.jsonl").write_text(rows, encoding="utf-8")
    source = {"source": "stimuli", "form": "pairs", "path": "pairs.jsonl", "items": len(pairs)}
    tasks = {"study": {"kind": "passage", "sources": [source]}, "english": SCENARIO["tasks"]["english"]}
    (folder / "toy.yaml").write_text(yaml.safe_dump(SCENARIO | {"tasks": tasks}, sort_keys=False))
    return folder
