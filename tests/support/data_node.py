"""A stored data node of random tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from tests.support.training import VOCABULARY

SEQUENCE = 16


def ids(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, VOCABULARY, count, dtype=np.int32)


def data_folder(folder: Path, rows: int = 10, seed: int = 0) -> Path:
    """A stored data node with `rows` rows in each split, and 2 bytes per target token in the test split."""
    folder.mkdir(parents=True)
    tokens = rows * SEQUENCE + 1
    save_file({split: ids(tokens, seed) for split in ("train", "validation", "test")}, folder / "tokens.safetensors")
    result = {"kind": "text", "tokens": {"test": tokens}, "report": {"bytes": {"test": 2 * (tokens - 1)}}}
    (folder / "node.json").write_text(json.dumps({"result": result}))
    return folder
