"""Compute a base node: the model before any training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from cl.config.model import Model
from cl.errors import UserError
from cl.models.pretrained import create, save


def base(spec: dict[str, Any], local: dict[str, Any], inputs: dict[str, Path], out: Path) -> dict[str, Any]:
    """Execute a base node: the model before any training, stored with its tokenizer."""
    tokenizer = json.loads((inputs["tokenizer"] / "node.json").read_text(encoding="utf-8"))["result"]
    model = Model(**local["model"])
    created = create(model, tokenizer["vocabulary"], tokenizer["separator_id"], spec["seed"], spec["sequence"])
    limit = getattr(created.config, "max_position_embeddings", None)
    if limit is not None and spec["sequence"] > limit:
        raise UserError(f"train.sequence: {spec['sequence']} is longer than the model's context of {limit} tokens")
    save(created, out)
    for file in inputs["tokenizer"].glob("tokenizer*"):
        shutil.copy(file, out / file.name)
    return {"parameters": sum(p.numel() for p in created.parameters())}
