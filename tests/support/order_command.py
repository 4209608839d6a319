"""`cl order` on the toy experiment."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from cl import cli
from tests.support.training import write_strategy, write_toy

STEPS = 4


def toy(folder: Path, name: str = "finetune", methods: list[Any] | None = None, **changes: Any) -> Path:
    """The toy stream of two tasks of four steps each; a strategy of its own where methods are given."""
    order = {"tokens": 256, "held_out": 6, "trials": 64, "verify": 1, "readout": "forward"} | changes.pop("order", {})
    write_toy(folder, strategies={name: None}, tokens=4 * 32 * STEPS, order=order, **changes)
    if methods is not None:
        write_strategy(folder, name, methods)
    return folder


def run(folder: Path, action: str, *settings: str, uri: str = "none") -> dict[str, Any]:
    """One action; the answer of its only run."""
    with contextlib.chdir(folder):
        assert cli.main(["order", action, "toyexp.yaml", f"--tracking.uri={uri}", *settings]) == 0
        path = Path("results/toyexp") / f"order_{action}.json"
        if action == "record":
            assert not path.exists()
            return {}
        assert path.with_suffix(".html").stat().st_size > 1e6
        (answer,) = json.loads(path.read_text())["answers"].values()
        found: dict[str, Any] = answer
        return found
