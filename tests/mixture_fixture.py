"""A toy stream of text with general sets beside it: instructions, and preferences made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests import instruction_fixture, training_fixture

COPY = {"source": "examples", "path": "copy.jsonl"}
GENERAL: dict[str, Any] = {
    "chat": {"kind": "instruction", "sources": [COPY]},
    "liked": {"kind": "preference", "sources": [{"source": "preferences", "of": COPY}]},
}


def write_mixture(folder: Path, **changes: Any) -> Path:
    """The toy text experiment `toyexp.yaml`, its scenario with general sets, and `changes` merged in."""
    training_fixture.write_toy(folder)
    instruction_fixture.write_stream(folder)
    scenario = training_fixture.SCENARIO | {"general": GENERAL}
    (folder / "toy.yaml").write_text(yaml.safe_dump(scenario, sort_keys=False))
    content = training_fixture.EXPERIMENT | changes
    content["train"] = {**training_fixture.EXPERIMENT["train"], "sequence": 64} | changes.get("train", {})
    content["evaluation"] = {**training_fixture.EXPERIMENT["evaluation"], "items": 4}
    content["tokens"] = content["train"]["sequence"] * 4 * 6
    (folder / "toyexp.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    return folder
