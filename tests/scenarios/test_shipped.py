"""The shipped scenarios: all load, and are what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from cl.tasks.answer_scoring import format_ok
from cl.tasks.example import Example
from cl.tasks.scenario import Scenario, load, split


def shipped() -> list[Path]:
    return sorted((Path(__file__).parents[2] / "scenarios").glob("*.yaml"))


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_shipped_scenarios_load(path: Path) -> None:
    scenario = load(path.stem)
    assert scenario.version >= 1
    assert len(scenario.tasks) > 1 or scenario.general  # a domain by itself, with what it may make forget beside it
    assert len(yaml.safe_load(path.read_text(encoding="utf-8"))["summary"]) < 110


def test_the_tiny_scenario_needs_no_package() -> None:
    scenario: Scenario = load("tiny")
    found = split(scenario.tasks["german"], scenario)
    assert found.report.bytes["train"] > 20_000
    assert found.report.duplicates == 0
    assert found.report.overlap is not None
    assert found.report.overlap < 0.02


def test_every_intent_of_the_class_incremental_stream_is_learned_and_tested() -> None:
    scenario = load("intents")
    asked: set[str] = set()
    for task in scenario.tasks.values():
        found = split(task, scenario)
        train, test = ({example.answer for example in part} for part in (found.train, found.test))  # type: ignore[union-attr]
        assert train == test
        assert not train & asked
        asked |= train
    assert len(asked) == 25


@pytest.mark.parametrize("name", ["instructions", "instructions_small", "intents"])
def test_shipped_streams(name: str) -> None:
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    scenario = load(name)
    for task in scenario.tasks.values():
        found = split(task, scenario)
        assert len(found.train) >= 150
        assert len(found.test) >= 60
        for example in (*found.train, *found.test):
            assert isinstance(example, Example)
            assert format_ok(example.answer, example)
            assert len(example.question) < 500
