"""Generated instructions: the same every time, with answers that check out."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from cl.errors import UserError
from scenarios.sources.instructions import FunctionCalls, GermanNouns, HomeIntents, ReasoningGym

INTENTS = ["TurnOn", "SetVolume", "StartTimer", "GetWeather"]


def test_problems_are_generated_and_their_questions_cut() -> None:
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    config = {"min_terms": 2, "max_terms": 2, "max_digits": 1}
    for example in ReasoningGym("chain_sum", 20, "number", remove=["^State.*: ", " =$"], config=config).documents():
        left, sign, right = example.question.split()
        assert int(example.answer) == int(left) + (int(right) if sign == "+" else -int(right))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dataset": "chain_summ"}, "dataset: chain_summ: .*not registered"),
        ({"config": {"terms": 3}}, "dataset: chain_sum: .*unexpected keyword argument 'terms'"),
        ({"dataset": "rubiks_cube"}, "dataset: rubiks_cube has problems without a reference answer"),
        ({"items": 0}, "items: 0 is not a whole number of at least 1"),
        ({"remove": ["("]}, r"remove: '\(' is no regular expression"),
    ],
)
def test_problems_that_cannot_be_had_are_refused(settings: Any, message: str) -> None:
    pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed")
    with pytest.raises(UserError, match=message):
        list(ReasoningGym(**{"dataset": "chain_sum", "items": 2, "style": "number"} | settings).documents())


def test_settings_are_in_the_fingerprint() -> None:
    assert len({GermanNouns(items, seed).fingerprint() for items in (1, 2) for seed in (0, 1)}) == 4


@pytest.mark.slow
def test_more_nouns_than_there_are_is_refused() -> None:
    with pytest.raises(UserError, match=r"items: 1000000 nouns are asked for, there are [0-9]+$"):
        list(GermanNouns(1_000_000).documents())


@pytest.mark.slow
def test_nouns() -> None:
    found = list(GermanNouns(30).documents())
    assert found == list(GermanNouns(30).documents())
    assert len({example.question for example in found}) == 30
    for example in found:
        article, noun = example.answer.split(", ")[0].split()
        assert article in ("der", "die", "das")
        assert f'"{noun}"' in example.question


def test_commands_by_label_and_as_json() -> None:
    labelled = list(HomeIntents(INTENTS, 10).documents())
    assert Counter(example.answer for example in labelled) == dict.fromkeys(INTENTS, 10)
    assert {example.options for example in labelled} == {tuple(INTENTS)}
    for example in HomeIntents(INTENTS, 10, form="json").documents():
        assert json.loads(example.answer)["intent"] in INTENTS


def test_another_seed_gives_other_commands() -> None:
    first, second = ({e.question for e in HomeIntents(INTENTS, 10, seed=seed).documents()} for seed in (0, 1))
    assert len(first & second) < 20


def test_function_calls() -> None:
    found = list(FunctionCalls().documents())
    assert len(found) > 300
    for example in found:
        assert json.loads(example.answer)["name"] in example.question


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"intents": ["TurnOnn"], "items": 1}, "intents: 'TurnOnn' is unknown"),
        ({"intents": ["TurnOn"], "items": 1, "language": "xx"}, "language: 'xx' is none of"),
    ],
)
def test_unknown_commands_are_refused(settings: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        list(HomeIntents(**settings).documents())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"form": "phrase"}, "form: 'phrase' is neither label nor json"),
        ({"items": 0}, "items: 0 is not a whole number of at least 1"),
        ({"labels": ["TurnOff"]}, "labels: 'TurnOn' is missing"),
    ],
)
def test_settings_of_commands_are_checked_at_once(settings: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        HomeIntents(**{"intents": ["TurnOn"], "items": 1} | settings)
