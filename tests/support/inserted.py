"""A toy stream with items to insert: English, then German, and a general set of verses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from tests.support.training import SCENARIO, TEXTS, write_strategy, write_toy

INSERTION: dict[str, Any] = {"levels": [1, 3], "phases": 2, "items": 2, "tokens": 12, "share": 0.5}
COPIES = 2 * 2 * (1 + 3)
GENERAL = {"canaries": {"sources": [{"source": "files", "path": "psalms.txt", "separator": "\n\n"}]}}


def write_inserted(folder: Path, *methods: Any, **changes: Any) -> Path:
    """The toy experiment with the strategy `perturbed`: a schedule, and INSERTION unless other methods are given."""
    write_toy(folder, **{"strategies": {"perturbed": None}, **changes})
    verses = (TEXTS / "psalms.txt").read_text(encoding="utf-8").replace(". ", ".\n\n")
    (folder / "psalms.txt").write_text(verses, encoding="utf-8")
    (folder / "toy.yaml").write_text(yaml.safe_dump(SCENARIO | {"general": GENERAL}, sort_keys=False))
    write_strategy(folder, "perturbed", ["rewarm_cosine", *(methods or [{"insertion": INSERTION}])])
    write_strategy(folder, "plain", ["rewarm_cosine"])
    return folder
