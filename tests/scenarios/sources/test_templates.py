"""The notation of sentence templates, by hand."""

from __future__ import annotations

import random
from typing import Any

import pytest

from scenarios.sources.templates import Templates


def templates(sentence: str, seed: int = 0, **content: Any) -> Templates:
    block = {"data": [{"sentences": [sentence]}]}
    return Templates({"intents": {"X": block}, "lists": {}, "expansion_rules": {}} | content, random.Random(seed))


def drawn(sentence: str, **content: Any) -> set[str]:
    return {templates(sentence, seed, **content).sentence("X")[0] for seed in range(60)}


@pytest.mark.parametrize(
    ("sentence", "expected"),
    [
        ("turn on", {"turn on"}),
        ("(turn|switch) on", {"turn on", "switch on"}),
        ("turn [the] light", {"turn light", "turn the light"}),
        ("(now;go)", {"now go", "go now"}),
        ("hour[s]", {"hour", "hours"}),
        ("(a [b|c]|d)", {"a", "a b", "a c", "d"}),
    ],
)
def test_notation_by_hand(sentence: str, expected: set[str]) -> None:
    assert drawn(sentence) == expected


def test_rules_and_lists_are_filled_in() -> None:
    rules = {"do": "(make|brew)"}
    lists = {"drink": {"values": [{"in": "[hot] tea", "out": "TEA"}]}, "count": {"range": {"from": 2, "to": 3}}}
    assert drawn("<do> {drink}", expansion_rules=rules, lists=lists) == {
        "make tea", "make hot tea", "brew tea", "brew hot tea"
    }  # fmt: skip
    sentence, slots = templates("{count:cups} of {drink}", lists=lists).sentence("X")
    assert slots == {"cups": int(sentence.split()[0]), "drink": "TEA"}
