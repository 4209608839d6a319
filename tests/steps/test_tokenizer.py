"""The tokenizer node: the same each time, and how much it reads."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from cl.config.model import Model
from cl.data.tokenization import SEPARATOR
from cl.graph.specs import Local
from cl.steps import tokenizer as tokenizer_
from tests.support.training import TEXTS


def documents(name: str, count: int = 40) -> Iterator[str]:
    yield from (TEXTS / f"{name}.txt").read_text(encoding="utf-8").split("\n\n")[:count]


def test_a_tokenizer_is_trained_the_same_each_time() -> None:
    first, second = (tokenizer_._train_bpe(documents("german"), 320).backend_tokenizer.to_str() for _ in range(2))
    assert first == second
    assert json.loads(first)["model"]["vocab"][SEPARATOR] == 0


def test_tokenizer_training_reads_no_more_than_its_share_of_a_task(monkeypatch: Any) -> None:
    splits = SimpleNamespace(train=["aaaa", "bbbb", "cccc"])
    defined = SimpleNamespace(task=lambda name: name)
    monkeypatch.setattr("cl.tasks.scenario.load", lambda name: defined)
    monkeypatch.setattr("cl.tasks.scenario.split", lambda task, scenario, folder: splits)
    monkeypatch.setattr(tokenizer_, "TRAINING_BYTES", 9)
    found = tokenizer_._training_text({"one": "", "two": ""}, Local("any", Model(name="any")), Path())
    assert list(found) == ["aaaa", "bbbb"] * 2
