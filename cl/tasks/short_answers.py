"""SQuAD's measures of short answers (Rajpurkar et al. 2016), and the paper EM of online adaptation.

The normal form is SQuAD's: lower case, no ASCII punctuation, no articles, single blanks. An answer is compared with the
reference and each accepted answer, and the best counts.
"""

from __future__ import annotations

import re
import string
from collections import Counter

from cl.tasks.example import Example

ARTICLES = re.compile(r"\b(a|an|the)\b")
MARKS = str.maketrans("", "", string.punctuation)


def squad_form(text: str) -> str:
    """The normal form of a text: lower case, without punctuation and articles, with single blanks."""
    return " ".join(ARTICLES.sub(" ", text.lower().translate(MARKS)).split())


def em(prediction: str, example: Example) -> float:
    """1 if prediction and reference have the same normal form, and it is not empty."""
    found = squad_form(prediction)
    return float(bool(found) and found in map(squad_form, _references(example)))


def em_cut(prediction: str, example: Example) -> float:
    """1 if the normal form of the prediction begins with the reference's: the EM of the code of CaMeLS and MAC.

    There the prediction is cut to the characters of the reference (`match_length=False`), so an answer that goes on
    after the right one, or an answer "Parisian" to "Paris", counts as right. A reference whose normal form is empty is
    never matched, there always.
    """
    found = squad_form(prediction)
    return float(any(found.startswith(wanted) for wanted in map(squad_form, _references(example)) if wanted))


def f1(prediction: str, example: Example) -> float:
    """Harmonic mean of precision and recall of the words of the normal forms, counted with their multiplicity."""
    return max(_f1(squad_form(prediction).split(), squad_form(wanted).split()) for wanted in _references(example))


def _f1(found: list[str], wanted: list[str]) -> float:
    same = sum((Counter(found) & Counter(wanted)).values())
    return 2 * same / (len(found) + len(wanted)) if same else 0.0


def _references(example: Example) -> tuple[str, ...]:
    return (example.answer, *example.accepted)
