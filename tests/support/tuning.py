"""A toy experiment that is tuned."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from cl import cli
from cl.config import loading
from cl.tuning import studies, trial_process
from tests.support.training import write_toy

LR = {"value": 3e-3, "low": 1e-3, "high": 1e-2, "log": True}


def toy(folder: Path, tune: dict[str, Any], **changes: Any) -> Path:
    """The toy stream of two tasks, eight steps each."""
    values = {"tokens": 1024, "train": {"lr": LR}, "strategies": {"rewarm": None}, "tune": {"trials": 3} | tune}
    write_toy(folder, **(values | changes))
    return folder


def tuned(folder: Path, *settings: str) -> list[dict[str, Any]]:
    """Run `cl tune` there; its studies as JSON."""
    with contextlib.chdir(folder):
        assert cli.main(["tune", "toyexp.yaml", "--tracking.uri=none", *settings]) == 0
        found: list[dict[str, Any]] = json.loads(Path("results/toyexp/tuning.json").read_text())
    return found


def said(folder: Path) -> list[dict[str, Any]]:
    """What a trial of the file's own values says."""
    lines: list[dict[str, Any]] = []
    with contextlib.chdir(folder):
        _, (study, *_) = studies.plan(*loading.read("toyexp.yaml"))
        trial_process.run(study.experiment({}), study.objectives, lines.append)
    return lines
