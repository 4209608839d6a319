"""A toy stream of text with general sets beside it: instructions, and preferences made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.support import instruction, training
from tests.support.training import write_strategy

COPY = {"source": "examples", "path": "copy.jsonl"}
GENERAL: dict[str, Any] = {
    "chat": {"kind": "instruction", "sources": [COPY]},
    "liked": {"kind": "preference", "sources": [{"source": "preferences", "of": COPY}]},
}


def write_mixture(folder: Path, **changes: Any) -> Path:
    """The toy text experiment `toyexp.yaml`, its scenario with general sets, and `changes` merged in."""
    training.write_toy(folder)
    instruction.write_stream(folder)
    scenario = training.SCENARIO | {"general": GENERAL}
    (folder / "toy.yaml").write_text(yaml.safe_dump(scenario, sort_keys=False))
    content = training.EXPERIMENT | changes
    content["train"] = {**training.EXPERIMENT["train"], "sequence": 64} | changes.get("train", {})
    content["evaluation"] = {**training.EXPERIMENT["evaluation"], "items": 4}
    content["tokens"] = content["train"]["sequence"] * 4 * 6
    (folder / "toyexp.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder


MIXTURE = {"knowledge_mixture": {"shares": {"chat": 0.25, "liked": 0.25}}}


def mixed(folder: Path, *methods: Any, name: str = "mixed") -> Path:
    write_mixture(folder, strategies={name: None})
    write_strategy(folder, name, ["rewarm_cosine", *(methods or [MIXTURE])])
    return folder


SFT = {"sft": {"of": "chat", "count": 5, "examples": 8, "rate": 0.5}}
DPO = {"dpo": {"of": "liked", "count": 4, "examples": 8}}


def aligned(folder: Path, *methods: Any) -> Path:
    write_mixture(folder, strategies={"aligned": None})
    write_strategy(folder, "aligned", ["rewarm_cosine", *(methods or (SFT, DPO))])
    return folder
