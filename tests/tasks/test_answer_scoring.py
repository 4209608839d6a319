"""Scores by hand, and what must hold between them."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from cl.tasks.answer_scoring import FORMAT_PROMPTS, format_ok, mentions, normalised, strict
from cl.tasks.example import Example, Style

COLOURS = ("red", "dark red", "blue")
EXAMPLES: dict[Style, Example] = {
    "number": Example("2 * 617?", "1234", "number"),
    "yes_no": Example("Is ice cold?", "Yes", "yes_no"),
    "choice": Example("Which is a fish? A. oak B. trout", "B", "choice", options=("oak", "trout")),
    "label": Example("blood", "red", "label", options=COLOURS),
    "phrase": Example("Capital of France?", "Paris", "phrase", accepted=("the city of Paris",)),
    "json": Example("call f", '{"name": "f", "arguments": {"x": 1, "y": 2}}', "json"),
    "brief": Example("Capital?", "Paris", "brief"),
    "detail": Example("Capital?", "Paris", "detail"),
}


@pytest.mark.parametrize(
    ("style", "prediction", "expected"),  # strict, normalised, form
    [
        ("number", "1234", (1, 1, True)),
        ("number", " 1234\n", (1, 1, True)),
        ("number", "1,234", (0, 1, True)),
        ("number", "2 * 617 = 1234.", (0, 1, False)),
        ("number", "1234 or 1235", (0, 0, False)),
        ("number", "-1234", (0, 0, True)),
        ("number", "1234.0", (0, 1, True)),
        ("number", "1234,", (0, 1, False)),
        ("number", "12,34", (0, 0, False)),
        ("yes_no", "Yes", (1, 1, True)),
        ("yes_no", "yes, it is.", (0, 1, False)),
        ("yes_no", "No", (0, 0, True)),
        ("yes_no", "No, yes", (0, 0, False)),
        ("choice", "B", (1, 1, True)),
        ("choice", "b.", (0, 1, False)),
        ("choice", "(B) trout", (0, 1, False)),
        ("choice", "The answer is trout.", (0, 1, False)),
        ("choice", "The answer is B.", (0, 1, False)),  # right in CoIN's script, too
        ("choice", "The correct option is: (b)", (0, 1, False)),
        ("choice", "The answer is A.", (0, 0, False)),
        ("choice", "an oak or a trout", (0, 0, False)),
        ("choice", "C", (0, 0, False)),  # there is no such option
        ("label", "red", (1, 1, True)),
        ("label", "Red.", (0, 1, False)),
        ("label", "It is red", (0, 1, False)),
        ("label", "dark red", (0, 0, True)),  # the longer label, not the one inside it
        ("label", "red and blue", (0, 0, False)),
        ("label", "a redder one", (0, 0, False)),
        ("phrase", "Paris", (1, 1, True)),
        ("phrase", "the city of Paris", (1, 1, True)),
        ("phrase", "The answer is: PARIS.", (0, 1, False)),
        ("phrase", "Parisian", (0, 0, True)),
        ("json", '{"name": "f", "arguments": {"x": 1, "y": 2}}', (1, 1, True)),
        ("json", '```json\n{"arguments": {"y": 2, "x": 1}, "name": "f"}\n```', (0, 1, False)),
        ("json", 'Here: ```{"name": "f", "arguments": {"x": 1.0, "y": 2}}``` That is it.', (0, 1, False)),
        ("json", '{"name": "f", "arguments": {"x": true, "y": 2}}', (0, 0, True)),  # Python's True == 1
        ("json", '{"name": "f"}', (0, 0, True)),
        ("json", "null", (0, 0, True)),
        ("json", "NaN", (0, 0, False)),
        ("json", "[" * 100_000, (0, 0, False)),
        ("json", "1" * 5_000, (0, 0, True)),
        ("json", "f(x=1, y=2)", (0, 0, False)),
        ("brief", "It is Paris because the government and most of its offices sit there.", (0, 1, True)),
        ("brief", "Lyon", (0, 0, False)),
        ("detail", "Paris", (1, 1, False)),
    ],
)
def test_scores_by_hand(style: Style, prediction: str, expected: tuple[float, float, bool]) -> None:
    example = EXAMPLES[style]
    assert (strict(prediction, example), normalised(prediction, example), format_ok(prediction, example)) == expected


@pytest.mark.parametrize(
    ("text", "truth", "expected"),
    [
        ("It is Paris, of course.", "paris", True),
        ("It is Parisian.", "Paris", False),
        ("So there are 1,234 of them.", "1234", True),
        ("So there are 1234.0 of them.", "1,234", True),
        ("So there are 12345 of them.", "1234", False),
        ("It fell to -3 degrees.", "3", False),
        ("It rose to 3 degrees.", "-3", False),
        ("It is the red one", "the Red", True),
        ("anything", "...", False),
        ("", "Paris", False),
    ],
)
def test_whether_a_text_mentions_the_truth(text: str, truth: str, expected: bool) -> None:
    assert mentions(text, truth) is expected


def test_the_truth_of_an_explanation_is_its_content_and_not_its_form() -> None:
    whole = "It is Paris because the government and most of its offices sit there."
    example = Example("Capital?", whole, "brief", accepted=("Paris",))
    for prediction, expected in ((whole, (1, 1, True)), ("Paris", (0, 1, False)), (whole.upper(), (0, 1, True))):
        found = (strict(prediction, example), normalised(prediction, example), format_ok(prediction, example))
        assert found == expected


@pytest.mark.parametrize("style", get_args(Style))
@pytest.mark.parametrize("empty", ["", "  ", "\n", "...", "the"])
def test_nothing_is_never_right(style: Any, empty: str) -> None:
    assert strict(empty, EXAMPLES[style]) == normalised(empty, EXAMPLES[style]) == 0


def test_nothing_is_not_right_even_where_it_is_accepted() -> None:
    example = Example("Who?", "nobody", "phrase", accepted=("", "no one"))
    assert strict(" ", example) == normalised(" ", example) == 0
    assert strict("no one", example) == 1


def test_a_label_that_is_an_article_is_a_label() -> None:
    example = Example("Which class?", "A", "label", options=("A", "B"))
    assert [normalised(text, example) for text in ("A", "a", "The answer is A.", "B", "the")] == [1, 1, 1, 0, 0]


@pytest.mark.parametrize("style", [style for style in get_args(Style) if style not in ("brief", "detail")])
def test_the_reference_itself_is_right_in_every_respect(style: Any) -> None:
    example = EXAMPLES[style]
    for text in (example.answer, *example.accepted):
        assert strict(text, example) == normalised(text, example) == 1
        assert format_ok(text, example)


def test_strict_implies_normalised_whatever_the_text() -> None:
    texts = [text for example in EXAMPLES.values() for text in (example.answer, example.question, *example.options)]
    for example in EXAMPLES.values():
        for text in [*texts, *(f"{one} {other}" for one in texts for other in texts)]:
            assert strict(text, example) <= normalised(text, example)


def test_every_style_has_its_format_prompt() -> None:
    assert FORMAT_PROMPTS.keys() == set(get_args(Style))
    assert len(set(FORMAT_PROMPTS.values())) == len(FORMAT_PROMPTS)
