"""No leakage: what is held out is neither trained on nor chosen by."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

from cl.steps import evaluate
from cl.training import validation
from cl.tuning import trial_process
from tests.support.training import (
    BATCH,
    SEQUENCE,
    TEXTS,
    split_rows,
    trained_rows,
    write_toy,
)
from tests.support.tuning import said, toy


@pytest.mark.slow
def test_replay_reads_what_was_trained_on_and_nothing_reads_what_is_held_out(tmp_path: Path, monkeypatch: Any) -> None:
    folder = write_toy(tmp_path, tokens=BATCH * SEQUENCE * 12, strategies={"rewarm_replay_25": None})
    first, second = trained_rows(monkeypatch, folder)
    english, german = split_rows(folder, "english", "train"), split_rows(folder, "german", "train")
    assert len(first) == len(set(first)) == BATCH * 12 < len(english)  # less than an epoch
    assert set(first) <= english
    replayed = [row for row in second if row in english]
    assert replayed == first[: len(second) // 4]
    assert {row for row in second if row not in english} <= german
    held_out = set.union(*(split_rows(folder, n, s) for n in ("english", "german") for s in ("validation", "test")))
    assert held_out.isdisjoint([*first, *second])


@pytest.mark.slow
def test_neither_test_splits_nor_retain_sets_reach_a_selection(tmp_path: Path) -> None:
    opened = set[tuple[str, str]]()
    window = validation.window

    def watched(folder: Path, name: str, split: str, *rest: Any) -> Any:
        opened.add((name, split))
        return window(folder, name, split, *rest)

    with_retain: list[list[dict[str, Any]]] = []
    for text in ("psalms.txt", "german.txt"):
        folder = toy(tmp_path / text, {"protocol": "oracle"})
        retain = {"kept": {"sources": [{"source": "files", "path": str(TEXTS / text), "separator": "\n\n"}]}}
        path = folder / "toy.yaml"
        path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | {"retain": retain}))
        with patch.object(evaluate, "window", watched):
            with_retain.append(said(folder))
    assert {split for _, split in opened} == {"validation"}
    behind = [
        [
            line for line in lines if line.get("step", 0) % trial_process.STAGE == 0
        ]  # when there is time to look inside is chance
        for lines in with_retain
    ]
    assert behind[0] == behind[1]  # what is retained changes nothing, to the last bit
    assert [line["step"] for line in behind[0] if "step" in line] == [trial_process.STAGE, 2 * trial_process.STAGE]
