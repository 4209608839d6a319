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


@pytest.mark.parametrize(
    ("style", "reference", "options", "prediction", "expected"),
    [
        ("number", "0.5", (), ".5", True),
        ("number", "5", (), ".5", False),
        ("number", "1000", (), "1e3", True),
        ("number", "3", (), "1e3", False),
        ("number", "-5", (), "\u22125", True),  # a typographic minus
        ("number", "5", (), "\u22125", False),
        ("number", "0.5", (), "1/2", True),
        ("number", "2", (), "1/2", False),
        ("number", "1234", (), "1 234", True),
        ("number", "234", (), "1 234", False),
        ("number", "234", (), "1'234", False),
        ("number", "5", (), "1.234,5", False),
        ("number", "5", (), "3-5", False),
        ("number", "-5", (), "3-5", False),
        ("number", "30", (), "12:30", False),
        ("number", "3", (), "10^3", False),
        ("number", "10", (), "0x10", False),
        ("number", "3", (), "1.2.3", False),
        ("number", "23", (), "1,23", False),
        ("number", "5", (), "It is $5.", True),
        ("number", "5", (), "5 kg of H2O", True),
        ("number", "5", (), "5%", True),
        ("number", "1024", (), "2^10=1024", True),
        ("number", "1", (), "1e999999999", False),
        ("phrase", "C", (), "C++", False),
        ("phrase", "C++", (), "c++.", True),
        ("phrase", "C#", (), "C", False),
        ("phrase", "A-", (), "A+", False),
        ("phrase", "5", (), "-5", False),
        ("phrase", "3.5", (), "35", False),
        ("phrase", "5", (), "5 %", False),
        ("phrase", "well-known", (), "well known", True),
        ("label", "C", ("C", "C++", "C#"), "C++", False),
        ("label", "C", ("C", "C++", "C#"), "The answer is C.", True),
        ("label", "entailment", ("entailment", "not_entailment"), "not_entailment", False),
        ("label", "not_entailment", ("entailment", "not_entailment"), "It is not entailment.", True),
        ("label", "toxic", ("toxic", "clean"), "non-toxic", False),
        ("label", "party", ("art", "party"), "art and party", False),
        ("label", "new card", ("card", "new card"), "a new card or a card", False),
        ("label", "new card", ("card", "new card"), "a new card", True),
        ("label", "a", ("a", "A"), "A", False),
        ("choice", "A", ("oak", "elm", "ash"), "AB", False),
        ("choice", "AB", ("oak", "elm", "ash"), "A", False),
        ("choice", "AB", ("oak", "elm", "ash"), "oak", False),
        ("choice", "AB", ("oak", "elm", "ash"), "A, B", True),
        ("choice", "AB", ("oak", "elm", "ash"), "B and A", True),
        ("choice", "AB", ("oak", "elm", "ash"), "oak and elm", True),
        ("choice", "AB", ("oak", "elm", "ash"), "ABC", False),
        ("choice", "BC", ("oak", "elm", "ash"), "B", False),
        ("choice", "B", ("UK", "USA"), "USA", True),
        ("choice", "A", ("UK", "USA"), "USA", False),
        ("choice", "A", ("5", "-5"), "-5", False),
        ("choice", "A", ("art", "party"), "party", False),
        ("choice", "B", ("oak", "elm"), "A. B", False),
    ],
)
def test_another_option_or_number_is_never_right(
    style: Style, reference: str, options: tuple[str, ...], prediction: str, expected: bool
) -> None:
    assert bool(normalised(prediction, Example("?", reference, style, options=options))) is expected
