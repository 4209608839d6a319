"""What `cl order` found, in one sentence."""

from __future__ import annotations

from typing import Any

import pytest

from cl.reporting.html.orders import headline

FOUND = {"tried": 64, "given": 2.5, "found": [{"loss": 2.25}]}


@pytest.mark.parametrize(
    ("what", "answer", "said"),
    [
        ("estimate", {"estimates": [{"loss": 2.0}, {"loss": 1.5}]}, ["2 orders", "1.5000 and 2.0000"]),
        ("search", FOUND, ["64", "2.2500", "2.5000"]),
        ("search", FOUND | {"verified": [{"loss": 2.75}, {"loss": 2.375}]}, ["really trained", "2.3750"]),
        ("position", {"memorisation": [[1.0, 1.25], [3.0, 2.0]]}, ["up to 1.0000"]),
        (
            "tasks",
            {"task_orders": [{"tasks": ["a", "b"], "loss": 3.0}, {"tasks": ["b", "a"], "loss": 2.0}]},
            ["b > a", "2.0000", "3.0000"],
        ),
    ],
)
def test_the_finding_in_one_sentence(what: str, answer: dict[str, Any], said: list[str]) -> None:
    sentence = headline(what, answer)
    assert [words for words in said if words not in sentence] == []
