"""Scores of an answer: exact match (`strict`), match of the content (`normalised`), and form alone (`format_ok`).

    strict(p, e) = 1   implies   normalised(p, e) = 1   (and format_ok(p, e) if the reference is in its form)

Pure functions of text. An empty answer is never right. In CoIN's script for class names an empty answer is always
right, because the script accepts a substring in either direction.
"""

from __future__ import annotations

import json
import re
import string
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

from cl.tasks.example import Example, Style

FORMAT_PROMPTS: dict[Style, str] = {
    "choice": "Answer with the option's letter from the given choices directly.",  # from SEFE's evaluation code
    "phrase": "Answer the question using a single word or phrase.",  # LLaVA's, from memory; the next ones are ours
    "yes_no": "Answer with Yes or No.",
    "number": "Answer with a number only.",
    "label": "Answer with the category's name only.",
    "json": "Answer with JSON only.",
    "brief": "Explain the answer briefly, in about 20 words.",
    "detail": "Explain the answer in detail, in about 50 words.",
}
"""Sentence that asks for the form of each style (SEFE, arXiv 2505.02486: the response format prompt)."""

NUMBER = re.compile(r"-?(?:[0-9]{1,3}(?:,[0-9]{3})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?")
NUMERAL = re.compile(
    r"(?P<value>[-+]?(?:[0-9]{1,3}(?:[,'][0-9]{3})+(?:\.[0-9]+)?|[0-9]+(?:\.[0-9]+)?|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?)"
    r"(?:/(?P<below>[0-9]+))?(?:[%\u00b0]|-?[^\W\d_]+(?:/[^\W\d_]+)?[\u00b2\u00b3]?)?"
)
"""A number with thousands, decimals, exponent or denominator, and a unit."""
GROUPED = re.compile(r"(?<![0-9.,])[0-9]{1,3}(?:[ \u00a0\u202f][0-9]{3})+(?![0-9])")
"""A number whose thousands are parted by blanks."""
SIGNS = (
    (re.compile(r"(?<=[\w+])\+"), "plus"),  # C++, A+
    (re.compile(r"(?<=\w)#(?!\w)"), "sharp"),
    (re.compile(r"(?<=\w)-(?!\w)|(?<!\w)-(?=\.?[0-9])"), "minus"),  # A-, -5
    (re.compile(r"\.(?=[0-9])"), "point"),
    (re.compile(r"(?<=[0-9])\s?%"), "percent"),
)
"""Signs that are a part of a name or a number, with the word that stands for each."""
FENCED = re.compile(r"```(?:\w+\s)?(.*?)(?:```|$)", re.DOTALL)
LEAD = re.compile(
    r"^(?:(?:so|therefore),? )?(?:the )?(?:final |correct )?(?:answer|result|label|category|option)(?: is)?:? "
)
ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PHRASE_WORDS, BRIEF_WORDS, DETAIL_WORDS = (1, 20), (8, 40), (25, 110)  # fewest and most words of a well-formed answer


def strict(prediction: str, example: Example) -> float:
    """Return 1 if the answer equals the reference or an accepted answer, apart from white space around it.

    Args:
        prediction: answer of the model.
        example: example with the reference. For `brief` and `detail` an accepted answer counts only if it has the form
            of the style.
    """
    text = prediction.strip()
    accepted = example.accepted
    if example.style in ("brief", "detail"):  # accepted answers in another form are facts to mention
        accepted = tuple(reference for reference in accepted if format_ok(reference, example))
    return float(bool(text) and text in {reference.strip() for reference in (example.answer, *accepted)})


def normalised(prediction: str, example: Example) -> float:
    """Return 1 if the content of the answer is right, whatever its form.

    Letter case, punctuation, articles and an introduction ("The answer is") are ignored. By style:

    * `number`: the last number of the text counts;
    * `yes_no`: the first yes or no counts;
    * `choice`: the letter or the text of the option is right;
    * `label`: the right label is the only label in the text;
    * `json`: the JSON values are equal, in a code fence or not (true is not 1);
    * `brief`, `detail`: a reference occurs in the text.

    Args:
        prediction: answer of the model.
        example: example with the reference and the style.
    """
    if strict(prediction, example):
        return 1.0
    references = (example.answer, *example.accepted)
    return float(any(_SAME.get(example.style, _same_phrase)(prediction, text, example) for text in references))


def format_ok(prediction: str, example: Example) -> bool:
    """Whether the answer has the form of the example's style, whether right or wrong.

    Args:
        prediction: answer of the model.
        example: example with the style.
    """
    text = prediction.strip()
    return bool(text) and _FORM[example.style](text, example)


def plain(text: str) -> str:
    """Return a text in lower case, without introduction, punctuation, articles and doubled blanks.

    Signs that tell names and numbers apart stay: C++ and C, A- and A, -5 and 5. Articles stay if the text holds nothing
    else.
    """
    text = LEAD.sub("", " ".join(text.casefold().split()) + " ")
    text = text.replace("\u2212", "-")
    for sign, word in SIGNS:
        text = sign.sub(word, text)
    text = text.translate({ord(mark): " " for mark in string.punctuation + "\u201c\u201d\u201e\u2019"})
    return " ".join(ARTICLES.sub(" ", text).split()) or " ".join(text.split())


def _same_phrase(prediction: str, reference: str, example: Example) -> bool:
    return bool(plain(prediction)) and plain(prediction) == plain(reference)


def _same_number(prediction: str, reference: str, example: Example) -> bool:
    found, wanted = _numbers(prediction), _numbers(reference)
    return bool(found and wanted) and found[-1] is not None and found[-1] == wanted[-1]


def _numbers(text: str) -> list[Fraction | None]:
    """Values of the numbers of a text; None for one whose form is not known (12:30, 3-5, 1.234,5), which equals none.

    A unit behind a number is ignored, and so are digits inside words (H2O).
    """
    text = re.sub("[$\u20ac\u00a3~\u2248*`]", " ", text.replace("\u2212", "-"))
    text = GROUPED.sub(lambda grouped: re.sub(r"\s", "", grouped[0]), text)
    words = (word.rstrip(".,;:!?'") for word in re.split(r"[\s=()\[\]{}\"\u201c\u201d]+", text))
    return [_number(word) for word in words if re.match(r"[-+]?\.?[0-9]", word)]


def _number(word: str) -> Fraction | None:
    """Value of one number."""
    match = NUMERAL.fullmatch(word)
    if match is None:
        return None
    value = Fraction(Decimal(re.sub("[,']", "", match["value"])))
    if match["below"] is None:
        return value
    return value / int(match["below"]) if int(match["below"]) else None


def _same_yes_no(prediction: str, reference: str, example: Example) -> bool:
    words = [word for word in plain(prediction).split() if word in ("yes", "no")]
    return bool(words) and words[0] == plain(reference)


def _same_choice(prediction: str, reference: str, example: Example) -> bool:
    """Whether the letters of the answer, or else the options whose texts it holds, are those of the reference."""
    text, wanted = _introduced(prediction), set(reference.strip().upper())
    letters = _letters(text)
    if letters and all(plain(text) != plain(option) for option in example.options):
        return letters == wanted
    places = [string.ascii_uppercase.find(letter) for letter in wanted]
    if not all(0 <= place < len(example.options) for place in places):
        return False
    return _held(text, example.options) == {example.options[place] for place in places}


def _letters(text: str) -> set[str]:
    """Letters of options that a text names: it begins with one and a mark, or holds letters alone; else none."""
    if letter := re.match(r"\(?([A-Z])[).:](?:\s+[^\sA-Z]|\s+[A-Z][a-z]|$)", text):
        return {letter[1]}
    words = [word for word in re.split(r"[\s,;/&()+.:]+", text) if word and word != "and"]
    if len(words) == 1 and words[0].isalpha() and words[0].isupper():
        return set(words[0])
    return {word.upper() for word in words} if all(len(word) == 1 and word.isalpha() for word in words) else set()


def _introduced(text: str) -> str:
    """Text after an introduction ("The answer is"), in its original letter case."""
    text = " ".join(text.split())
    lead = LEAD.match(text.lower() + " ")
    return text[lead.end() :].strip() if lead else text


def _same_label(prediction: str, reference: str, example: Example) -> bool:
    if any(plain(prediction) == plain(option) for option in example.options if option != reference):
        return False
    return _same_phrase(prediction, reference, example) or _held(prediction, example.options) == {reference}


def _held(text: str, options: tuple[str, ...]) -> set[str]:
    """Options whose words occur in the text, outside of a longer option ("card" in "new card") and of a negation."""
    words, found = f" {plain(text)} ", set[str]()
    for option in sorted(options, key=lambda option: len(plain(option)), reverse=True):
        name = f" {plain(option)} "
        if name.strip() and name in words:
            if not re.search(rf" (?:not|non|no|never){re.escape(name)}", words):
                found.add(option)
            words = words.replace(name, " | ")
    return found


def _same_json(prediction: str, reference: str, example: Example) -> bool:
    fenced = FENCED.search(prediction)
    found = _canonical(fenced[1] if fenced else prediction)
    return found is not None and found == _canonical(reference)


def _canonical(text: str) -> str | None:
    """The JSON value as text with sorted keys and every number as a float; None if the text is not JSON."""
    try:
        value = json.loads(text, parse_int=float, parse_constant=_no_json)
        return json.dumps(value, sort_keys=True)
    except (ValueError, RecursionError):  # a model that repeats itself may nest too many brackets
        return None


def _no_json(name: str) -> Any:
    raise ValueError(f"{name} is Python's, not JSON's")


def mentions(text: str, truth: str) -> bool:
    """Whether a text holds the truth as whole words, apart from form; a number must have the same value.

    Args:
        text: text to search.
        truth: reference.
    """
    if NUMBER.fullmatch(truth.strip()):
        return _number(truth.strip()) in [found for found in _numbers(text) if found is not None]
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
