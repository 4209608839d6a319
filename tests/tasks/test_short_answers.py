"""SQuAD's measures by hand, and where the paper EM of online adaptation is no exact match."""

from __future__ import annotations

import pytest

from cl.tasks.example import Example
from cl.tasks.short_answers import em, em_cut, f1, squad_form

PARIS = Example("Capital?", "Paris", "phrase", accepted=("the city of Paris",))


def test_the_normal_form_is_squads() -> None:
    assert squad_form("  The  U.S.A.'s  an-other, A theme") == "usas another theme"


@pytest.mark.parametrize(
    ("prediction", "expected"),  # em, em_cut, f1
    [
        ("Paris", (1, 1, 1)),
        ("the paris.", (1, 1, 1)),
        ("City of Paris", (1, 1, 1)),
        ("Parisian cafes", (0, 1, 0)),  # cut to the reference's characters, another word counts as right
        ("Paris is in France", (0, 1, 0.4)),  # one of four words and of one: 2 * 1 / 5
        ("city of Lyon", (0, 0, 2 * 2 / 6)),
        ("Lyon", (0, 0, 0)),
        ("", (0, 0, 0)),
        ("the", (0, 0, 0)),
    ],
)
def test_answers_are_compared_with_each_reference(prediction: str, expected: tuple[float, ...]) -> None:
    assert (em(prediction, PARIS), em_cut(prediction, PARIS), f1(prediction, PARIS)) == pytest.approx(expected)


def test_words_count_as_often_as_they_occur() -> None:
    asked = Example("Song?", "New York New York", "phrase")
    assert f1("New York", asked) == pytest.approx(2 * 2 / 6)


def test_a_reference_without_words_is_never_matched() -> None:
    assert [score("the", Example("Article?", "the", "phrase")) for score in (em, em_cut, f1)] == [0, 0, 0]
