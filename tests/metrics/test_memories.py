"""Means over sets, and what is told about a memory."""

from __future__ import annotations

import pytest

from cl.metrics.memories import mean, warnings

FITS = {"stored": 10.0, "shown": 3.0, "dropped": 1.0, "own_task": 0.5}
TIGHT = {"stored": 10.0, "shown": 1.0, "dropped": 3.0}


def test_a_figure_that_a_set_lacks_is_a_mean_over_the_others() -> None:
    assert mean([FITS, TIGHT]) == {"stored": 10.0, "shown": 2.0, "dropped": 2.0, "own_task": 0.5}
    assert mean([]) == {}


def test_what_mostly_does_not_fit_is_told() -> None:
    found = warnings("retrieval_bm25", {1: {"copy": FITS}, 2: {"copy": TIGHT}}, ["copy"])
    assert found == ["retrieval_bm25: 75% of the examples found do not fit before their question; raise `context`"]
    assert warnings("retrieval_bm25", {2: {"copy": FITS}}, ["copy"]) == []


def test_sets_without_questions_are_told() -> None:
    found = warnings("retrieval_bm25", {1: {"copy": FITS}}, ["copy", "prose", "retained"])
    reason = "without questions, or nothing of their kind is stored"
    assert found == [f"retrieval_bm25: nothing is shown before prose, retained: {reason}"]


@pytest.mark.parametrize("memory", [{}, {1: {"copy": {"shown": 0.0, "dropped": 0.0}}}])
def test_nothing_is_told_of_no_memory_and_of_nothing_found(memory: dict[int, dict[str, dict[str, float]]]) -> None:
    assert warnings("finetune", memory, ["copy"]) == []
