"""Scores of an answer against an example: in the very form asked for, with form forgiven, and of the form alone.

    strict(p, e) = 1   implies   normalised(p, e) = 1   (and format_ok(p) where the reference has its own style's form)

Pure functions of text. An empty answer is never right: CoIN's script for class names takes a substring in either
direction, by which it always is.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from cl.tasks.example import Example, Style

FORMAT_PROMPTS: dict[Style, str] = {
    "choice": "Answer with the option's letter from the given choices directly.",  # read in SEFE's evaluation code
    "phrase": "Answer the question using a single word or phrase.",  # LLaVA's, from memory; the rest are ours
    "yes_no": "Answer with Yes or No.",
    "number": "Answer with a number only.",
    "label": "Answer with the category's name only.",
    "json": "Answer with JSON only.",
    "brief": "Explain the answer briefly, in about 20 words.",
    "detail": "Explain the answer in detail, in about 50 words.",
}
"""What the model is told about the form of its answer (SEFE, 2505.02486: the response format prompt)."""

NUMBER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?")
FENCED = re.compile(r"```(?:\w+\s)?(.*?)(?:```|$)", re.DOTALL)
LEAD = re.compile(
    r"^(?:(?:so|therefore),? )?(?:the )?(?:final |correct )?(?:answer|result|label|category|option)(?: is)?:? "
)
ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PHRASE_WORDS, BRIEF_WORDS, DETAIL_WORDS = (1, 20), (8, 40), (25, 110)  # what passes as each


def strict(prediction: str, example: Example) -> float:
    """1 where the answer is the reference or another accepted one, white space around it aside."""
    text = prediction.strip()
    accepted = example.accepted
    if example.style in ("brief", "detail"):  # an accepted answer in another form is what the explanation must hold
        accepted = tuple(reference for reference in accepted if format_ok(reference, example))
    return float(bool(text) and text in {reference.strip() for reference in (example.answer, *accepted)})


def normalised(prediction: str, example: Example) -> float:
    """1 where the content is right whatever its form.

    Forgiven are letter case, punctuation, articles and an introduction ("The answer is"). number: the last number of
    the text counts; yes_no: its first yes or no; choice: the letter or the option's text; label: the only label that
    occurs; json: equal as a value, in a code fence or not (true is not 1); brief, detail: a reference occurs.
    """
    if strict(prediction, example):
        return 1.0
    references = (example.answer, *example.accepted)
    return float(any(_SAME.get(example.style, _same_phrase)(prediction, text, example) for text in references))


def format_ok(prediction: str, example: Example) -> bool:
    """Whether the answer has the form that the example's style asks for; the reference plays no part."""
    text = prediction.strip()
    return bool(text) and _FORM[example.style](text, example)


def plain(text: str) -> str:
    """Lower case, without introduction, punctuation, articles (unless nothing else is left) and doubled blanks."""
    text = LEAD.sub("", " ".join(text.casefold().split()) + " ")
    text = text.translate({ord(mark): " " for mark in string.punctuation + "\u201c\u201d\u201e\u2019"})
    return " ".join(ARTICLES.sub(" ", text).split()) or " ".join(text.split())


def _same_phrase(prediction: str, reference: str, example: Example) -> bool:
    return bool(plain(prediction)) and plain(prediction) == plain(reference)


def _same_number(prediction: str, reference: str, example: Example) -> bool:
    found, wanted = _numbers(prediction), _numbers(reference)
    return bool(found and wanted) and found[-1] == wanted[-1]


def _numbers(text: str) -> list[Decimal]:
    return [Decimal(number.replace(",", "")) for number in NUMBER.findall(text)]


def _same_yes_no(prediction: str, reference: str, example: Example) -> bool:
    words = [word for word in plain(prediction).split() if word in ("yes", "no")]
    return bool(words) and words[0] == plain(reference)


def _same_choice(prediction: str, reference: str, example: Example) -> bool:
    text = _introduced(prediction)
    if letter := re.fullmatch(r"\(?([A-Za-z])\)?[.:]?", text) or re.match(r"\(?([A-Z])[).:](?:\s|$)", text):
        return letter[1].upper() == reference.strip().upper()
    place = string.ascii_uppercase.find(reference.strip().upper())
    return 0 <= place < len(example.options) and _only(text, example.options) == example.options[place]


def _introduced(text: str) -> str:
    """What comes after an introduction ("The answer is"), in its own letter case."""
    text = " ".join(text.split())
    lead = LEAD.match(text.lower() + " ")
    return text[lead.end() :].strip() if lead else text


def _same_label(prediction: str, reference: str, example: Example) -> bool:
    return _same_phrase(prediction, reference, example) or _only(prediction, example.options) == reference


def _only(text: str, options: tuple[str, ...]) -> str | None:
    """The only option whose words occur in the text; of nested ones ("card", "new card") the longest."""
    words = f" {plain(text)} "
    found = [option for option in options if plain(option) and f" {plain(option)} " in words]
    longest = [o for o in found if not any(o != other and plain(o) in plain(other) for other in found)]
    return longest[0] if len(longest) == 1 else None


def _same_json(prediction: str, reference: str, example: Example) -> bool:
    fenced = FENCED.search(prediction)
    found = _canonical(fenced[1] if fenced else prediction)
    return found is not None and found == _canonical(reference)


def _canonical(text: str) -> str | None:
    """The JSON value as text with sorted keys and every number as a float; None for what is no JSON."""
    try:
        value = json.loads(text, parse_int=float, parse_constant=_no_json)
        return json.dumps(value, sort_keys=True)
    except (ValueError, RecursionError):  # a model that repeats itself opens more brackets than can be parsed
        return None


def _no_json(name: str) -> Any:
    raise ValueError(f"{name} is Python's, not JSON's")


def mentions(text: str, truth: str) -> bool:
    """Whether the truth occurs in a text, in whole words and with form forgiven; a number with its sign and value."""
    if NUMBER.fullmatch(truth.strip()):
        return _numbers(truth)[0] in _numbers(text)
    return bool(plain(truth)) and f" {plain(truth)} " in f" {plain(text)} "


def _same_content(prediction: str, reference: str, example: Example) -> bool:
    return mentions(prediction, reference)


def _words(text: str, least: int, most: int) -> bool:
    return "\n" not in text and least <= len(text.split()) <= most


_SAME: dict[Style, Callable[[str, str, Example], bool]] = {
    "number": _same_number,
    "yes_no": _same_yes_no,
    "choice": _same_choice,
    "label": _same_label,
    "json": _same_json,
    "brief": _same_content,
    "detail": _same_content,
}
_FORM: dict[Style, Callable[[str, Example], bool]] = {
    "number": lambda text, _: bool(NUMBER.fullmatch(text)),
    "yes_no": lambda text, _: text in ("Yes", "No"),
    "choice": lambda text, example: len(text) == 1 and text in string.ascii_uppercase[: len(example.options) or 26],
    "label": lambda text, example: text in example.options,
    "phrase": lambda text, _: _words(text, *PHRASE_WORDS) and not text.endswith("."),
    "json": lambda text, _: _canonical(text) is not None,
    "brief": lambda text, _: _words(text, *BRIEF_WORDS),
    "detail": lambda text, _: _words(text, *DETAIL_WORDS),
}
