"""Answer styles: exact shares, balance, prompts everywhere, and the same result every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from cl.errors import UserError
from cl.tasks.answer_scoring import FORMAT_PROMPTS, strict
from cl.tasks.example import Example
from strategies.data.answer_styles import AnswerStyles
from tests.support.instruction import write_stream
from tests.support.training import results as result
from tests.support.training import run

pytestmark = pytest.mark.filterwarnings("ignore:reglora")

SUMS = [Example(f"{i} + 1 =", str(i + 1), "number") for i in range(100)]
COLOURS = ("red", "green", "blue", "black", "white")
LABELS = [Example(f"thing {i}", COLOURS[i % 5], "label", COLOURS) for i in range(50)]
QUESTIONS = [Example(f"fact {i}?", ("Yes", "No")[i % 2], "yes_no", ("Yes", "No")) for i in range(40)]
CHOICES = [Example(f"pick {i}", "ABCD"[i % 4], "choice", ("oak", "elm", "fir", "ash")) for i in range(60)]


def styles(examples: list[Example]) -> dict[str, int]:
    return dict(Counter(example.style for example in examples))


@pytest.mark.parametrize(
    ("examples", "expected"),
    [
        (SUMS, {"number": 80, "yes_no": 10, "choice": 10}),
        (LABELS, {"label": 40, "yes_no": 5, "choice": 5}),
        (QUESTIONS, {"yes_no": 32, "choice": 8}),  # no short form of a yes/no question
        (CHOICES, {"choice": 48, "yes_no": 6, "phrase": 6}),
    ],
)
def test_shares_are_exact_and_equal(examples: list[Example], expected: dict[str, int]) -> None:
    assert styles(AnswerStyles(0.2).transform(examples, "task", "train")) == expected


def test_converted_examples_take_their_originals_place() -> None:
    found = AnswerStyles(0.2).transform(SUMS, "sums", "train")
    assert len(found) == len(SUMS)
    for old, new in zip(SUMS, found, strict=True):
        assert new.question.startswith(old.question)
        if new.style == "number":
            assert new.answer == old.answer


def test_answers_are_right_and_balanced() -> None:
    found = AnswerStyles(0.4).transform(SUMS, "sums", "train")
    for old, new in zip(SUMS, found, strict=True):
        if new.style == "choice":
            assert new.options["ABCD".index(new.answer)] == old.answer
            assert len(set(new.options)) == 4
        if new.style == "yes_no":
            assert (f"Is the answer {old.answer!r}?" in new.question) == (new.answer == "Yes")
    assert Counter(e.answer for e in found if e.style == "yes_no") == {"Yes": 10, "No": 10}
    assert Counter(e.answer for e in found if e.style == "choice") == dict.fromkeys("ABCD", 5)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_question_says_its_form(split: str) -> None:
    found = AnswerStyles(0.2).transform(SUMS, "sums", split)
    assert all(example.question.endswith("\n" + FORMAT_PROMPTS[example.style]) for example in found)


def test_only_training_is_diversified() -> None:
    for split in ("validation", "test"):
        found = AnswerStyles(1.0).transform(CHOICES, "trees", split)
        assert [(e.answer, e.style) for e in found] == [(e.answer, e.style) for e in CHOICES]


def test_the_same_every_time_and_another_with_another_seed() -> None:
    make: Any = lambda seed: AnswerStyles(0.2, seed=seed).transform(SUMS, "sums", "train")  # noqa: E731
    assert make(0) == make(0)
    assert make(0) != make(1)


def test_degenerate_settings() -> None:
    assert AnswerStyles(0.0, prompts=False).transform(SUMS, "sums", "train") == SUMS
    assert AnswerStyles(0.0, prompts=False).validate([])
    assert styles(AnswerStyles(0.0).transform(SUMS, "sums", "train")) == {"number": 100}
    with pytest.raises(UserError, match=r"share: 1\.2 is not a share"):
        AnswerStyles(1.2)


def test_references_stay_right_under_the_scorer() -> None:
    for example in AnswerStyles(0.4).transform(LABELS, "colours", "train"):
        assert strict(example.answer, example) == 1


def test_what_cannot_be_converted_is_said() -> None:
    same = [Example(f"again {i}", "1", "number") for i in range(20)]
    with pytest.raises(UserError, match=r"answer_styles: share: 0\.2 of ones cannot become yes_no; lower the share"):
        AnswerStyles(0.2).transform(same, "ones", "train")


@pytest.mark.slow
def test_a_strategy_that_transforms_every_task_stands_alone(tmp_path: Path) -> None:
    folder = write_stream(tmp_path, strategies={"sefe": None}, train={"sequence": 128, "batch": 8})
    run(folder)
    assert result(folder)["data"]["copy"]["documents"]["train"] > 0
