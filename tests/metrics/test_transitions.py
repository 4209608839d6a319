"""Item transitions by hand: counts, what chance explains, and which rows of R are compared."""

from __future__ import annotations

import dataclasses
import math

import pytest

from cl.metrics import transitions
from cl.metrics.records import RunResult
from cl.metrics.run_metrics import beyond
from cl.metrics.transitions import Shares, Transitions
from cl.tasks.example import Example, Style
from tests.support.results import one_run


def answered(
    rows: dict[int, dict[str, str]], order: tuple[str, ...] = ("english", "german"), **changes: object
) -> RunResult:
    """A run whose strict scores are given; tasks are learned in `order`."""
    run = one_run({t: dict.fromkeys(order, 1.0) for t in rows}, order)
    given = {t: {name: {"strict": text} for name, text in row.items()} for t, row in rows.items()}
    return dataclasses.replace(run, answers=given, **changes)


def test_counts_by_hand() -> None:
    """Six questions: the second and third are forgotten, the fifth is gained; the rest stays."""
    found = transitions.count("111000", "100010")
    assert (found.questions, found.before, found.forgotten, found.gained, found.after) == (6, 3, 2, 1, 2)
    assert math.isnan(found.chance)


def test_two_guessers_of_two_options_forget_and_gain_nothing() -> None:
    """The paper's example: k = 2 and both scores 1/2 give F = 1/4, which is 1/2 * 1/2 / (2 - 1)."""
    found = transitions.count("1100", "1010", options=2)
    assert (found.forgotten, found.gained, found.chance) == (1, 1, 0.25)
    assert transitions.shares([found]) == Shares(0.25, 0.25, 0.0, 0.0)


def test_chance_by_hand() -> None:
    """Ten questions of four options, 8 right before, 7 after: C = 0.2 * 0.3 / 3 = 0.02."""
    found = Transitions(10, before=8, forgotten=2, gained=1, options=4)
    assert found.after == 7
    assert found.chance == pytest.approx(0.02)
    of = transitions.shares([found])
    assert (of.forgotten_true, of.gained_true) == pytest.approx((0.18, 0.08))


def test_what_was_known_can_be_forgotten_entirely() -> None:
    """The ceiling of the paper: all forgotten, F_true = (k a - 1) / (k - 1), here (4 * 0.5 - 1) / 3."""
    of = transitions.shares([transitions.count("1100", "0000", options=4)])
    assert of.forgotten_true == pytest.approx(1 / 3)


def test_the_mean_over_runs_comes_before_the_clip() -> None:
    """F - C is 1/4 - 1/4 in one run and 0 - 1/4 in the other: the mean is negative, so nothing was forgotten."""
    lucky, unlucky = transitions.count("1100", "1010", options=2), transitions.count("1100", "1100", options=2)
    assert transitions.shares([lucky, unlucky]).forgotten_true == 0.0
    more = transitions.count("1100", "0010", options=2)  # F = 1/2, C = 1/2 * 3/4
    assert transitions.shares([more, lucky]).forgotten_true == pytest.approx((1 / 2 - 3 / 8 + 0) / 2)


def test_other_questions_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        transitions.count("11", "1")
    with pytest.raises(ValueError, match="no question"):
        transitions.count("", "")


def example(style: Style, answer: str, *options: str) -> Example:
    return Example("q", answer, style, options)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([example("label", "a", *"abcd")] * 2, 4),
        ([example("yes_no", "Yes")], 2),
        ([example("choice", "A", "x", "y", "z")], 3),
        ([example("choice", letter) for letter in "ABBC"], 3),  # not stated: the distinct references
        ([example("number", "1"), example("number", "2")], None),
        ([example("choice", "AB", "x", "y", "z")], None),  # one of seven sets of letters
        ([example("label", "a", *"abc"), example("label", "a", *"abcde")], 1 + 1 / ((1 / 2 + 1 / 4) / 2)),
        ([example("yes_no", "No"), example("number", "1")], 3),  # half of the answers are free: 1 / 2 on average
        ([example("label", "a", "a")], None),  # any answer is luck
        ([], None),
    ],
)
def test_options_by_hand(asked: list[Example], expected: float | None) -> None:
    assert transitions.options(asked) == (None if expected is None else pytest.approx(expected))


def test_mixed_numbers_of_options_expect_what_their_questions_do() -> None:
    """With one score in both halves, C is the mean of the halves' own C."""
    k = transitions.options([example("label", "a", *"abc"), example("label", "a", *"abcde")])
    halves = [transitions.count("1100", "1010", options=each).chance for each in (3, 5)]
    assert transitions.count("11001100", "10101010", k).chance == pytest.approx(sum(halves) / 2)


ROWS = {0: {"english": "0011", "german": "0000"}, 1: {"english": "1110", "german": "0001"},
        2: {"english": "0111", "german": "1101"}}  # fmt: skip


def test_changes_of_a_run_by_hand() -> None:
    english, german = transitions.changes([answered(ROWS, options={"german": 2.0})])
    assert (english.strategy, english.name, english.questions, english.options) == ("hand", "english", 4, None)
    assert english.learned is not None
    assert english.first is not None
    assert (english.learned.forgotten, english.learned.gained) == (0.25, 0.25)
    assert math.isnan(english.learned.forgotten_true)
    assert (english.first.forgotten, english.first.gained) == (0.0, 0.25)
    assert german.learned is None  # nothing was learned after it
    assert german.first == Shares(0.0, 0.75, 0.0, 0.5)  # by luck (1 - 0) * (1 - 3/4) / (2 - 1)


def test_a_mean_is_over_the_runs_that_learned_more_afterwards() -> None:
    """German first: its row is 1, from 0001 to 1101. English has learned shares of the first run only."""
    english, german = transitions.changes([answered(ROWS), answered(ROWS, ("german", "english"))])
    assert english.learned is not None
    assert german.learned is not None
    assert (english.learned.forgotten, german.learned.gained) == (0.25, 0.5)


def test_only_rows_that_follow_one_another_are_compared() -> None:
    run = answered(ROWS)
    assert transitions.pairs(run) == [(0, 1), (0, 2), (1, 2)]
    alone = dataclasses.replace(run, independent=True)
    assert transitions.pairs(alone) == [(0, 1), (0, 2)]
    assert transitions.learned_in(alone, "english") is None
    assert transitions.changes([alone]) == []  # its last row knows the last task only
    joint = answered({0: ROWS[0], 2: ROWS[2]})
    assert transitions.learned_in(joint, "english") is None


def test_a_known_task_was_learned_before_the_first_row() -> None:
    run = answered({1: ROWS[1], 2: ROWS[2]}, known=1)
    assert transitions.learned_in(run, "english") == 1
    (english, german) = transitions.changes([run])
    assert english.learned is not None
    assert english.first is not None
    assert english.learned.forgotten == english.first.forgotten == 0.25
    assert german.learned is None


def test_the_form_of_an_answer_is_no_luck() -> None:
    run = dataclasses.replace(
        answered(ROWS), options={"english": 2.0}, answers={t: {"english": {"format_ok": "01"}} for t in (0, 1)}
    )
    found = transitions.between(run, "english", 0, 1, "format_ok")
    assert found is not None
    assert found.options is None
    assert transitions.between(run, "english", 0, 1) is None  # not scored
    assert transitions.between(run, "english", 0, 2, "format_ok") is None  # no such row


def test_skipped_tasks_are_skipped_in_the_answers_too() -> None:
    run = beyond(answered(ROWS), 1)
    assert run.order == ["german"]
    assert run.answers == {0: {"german": {"strict": "0001"}}, 1: {"german": {"strict": "1101"}}}
    assert [each.name for each in transitions.changes([run])] == ["german"]
