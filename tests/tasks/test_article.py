"""Articles: what they refuse, and how a reading task is split."""

from __future__ import annotations

from typing import Any

import pytest

from cl.errors import UserError
from cl.tasks.article import Article, asked_once, places
from cl.tasks.example import Example
from cl.tasks.splitting import Shares, normal, split_texts, stated, studied


def asked(text: str, **more: Any) -> Example:
    return Example(text, "yes", "phrase", **more)


def articles(count: int) -> list[Article]:
    return [Article(f"document {n}", (asked(f"first {n}?"), asked(f"second {n}?"))) for n in range(count)]


@pytest.mark.parametrize(
    ("text", "questions", "message"),
    [
        ("", (asked("a?"),), "is empty or has no questions"),
        ("text", (), "is empty or has no questions"),
        ("text a? yes", (asked("a?"),), r"the document of 'a\?' holds the question; remove it"),
        ("text", (asked("a?", history=(("user", "b"),)),), "part of a dialogue or a preference"),
    ],
)
def test_what_is_no_article_is_refused(text: str, questions: tuple[Example, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        Article(text, questions)


def test_a_question_is_asked_once() -> None:
    several = [Article("one", (asked("a?"), asked("b?"))), Article("two", (asked("A?"), asked("c?")))]
    assert [[each.question for each in own] for own in asked_once(several)] == [["a?", "b?"], ["c?"]]
    assert places(several) == {"a?": 0, "b?": 0, "c?": 1}


@pytest.mark.parametrize("measured_only", [False, True])
def test_all_documents_are_studied_and_each_is_asked_about_in_one_split(measured_only: bool) -> None:
    splits = split_texts([(articles(200), None)], Shares(0.2, 0.2, 0), None, measured_only)
    found = studied(splits, measured_only)
    read = {str(each) for each in (*splits.train, *splits.validation, *splits.test)}
    assert {str(each) for each in found.train} == (set() if measured_only else {str(each) for each in articles(200)})
    about = {split: {str(e.question).split()[1] for e in getattr(found, split)} for split in ("validation", "test")}
    assert about["validation"] == {f"{str(each).split()[1]}?" for each in splits.validation}
    assert about["validation"] | about["test"] == {f"{text.split()[1]}?" for text in read}
    assert not about["validation"] & about["test"]
    assert found.report.documents == {
        "train": len(found.train), "validation": len(found.validation), "test": len(found.test)
    }  # fmt: skip


def test_the_questions_are_held_back_from_every_other_set() -> None:
    held = stated(articles(2))
    assert held == {f"{place} {n}?": "test" for n in range(2) for place in ("first", "second")}
    other = [asked("FIRST  1?"), *(asked(f"{n}?") for n in range(50))]
    kept = split_texts([(other, None)], Shares(0.1, 0.1, 0), None, False, held)
    assert kept.report.held_out == 1
    assert "first 1?" not in map(normal, kept.train)
