"""Knowledge mixture: what can be mixed in, and what replay makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.errors import UserError
from tests.support.mixture import mixed
from tests.support.nodes import trained
from tests.support.training import plan


@pytest.mark.parametrize(
    ("shares", "message"),
    [
        ({"chatt": 0.2}, "general set: 'chatt' is unknown; did you mean 'chat'"),
        ({"german": 0.2}, "general set: 'german' is unknown"),  # of the stream: it would be learned before its time
        ({"chat": 0.8, "liked": 0.4}, "at most 1 together"),
    ],
)
def test_what_cannot_be_mixed_in_is_told(shares: dict[str, float], message: str, tmp_path: Path) -> None:
    folder = mixed(tmp_path, {"knowledge_mixture": {"shares": shares}})
    with pytest.raises(UserError, match=message):
        plan(folder)


def test_replay_is_of_tasks_not_of_what_was_mixed_in(tmp_path: Path) -> None:
    folder = mixed(
        tmp_path, {"replay": {"share": 0.5, "max_epochs": 9}}, {"knowledge_mixture": {"shares": {"chat": 0.5}}}
    )
    graph, _ = plan(folder)
    assert trained(graph.runs[0].stages[1].node).shares == {
        "german": 0.25,
        "plain:chat": 0.5,
        "replay:english?max_epochs=9": 0.25,
    }
