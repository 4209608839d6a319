"""The newest examples, whatever is asked."""

from __future__ import annotations

from cl.methods.retrieves import Recall, ranked
from strategies.retrieval.in_context import InContext


def test_the_newest_come_first_before_every_question() -> None:
    assert ranked(InContext().scores(Recall(["a", "b", "c"], ["c", "d"])), 2) == [[2, 1], [2, 1]]
