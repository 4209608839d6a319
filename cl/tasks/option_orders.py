"""Orders of the options that a question lists, so that no score rests on a preference for a place in the list.

A model that always takes the first option scores by the order in which a benchmark happens to list them. Averaged over
orders that depend on the *set* of options alone, a score is the same for every order in the input. This is the lesson
of Set-Based Prompting (arXiv 2406.06581, from a summary), which itself edits positions and masks instead.
"""

from __future__ import annotations

import math
import random
import re
import string
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from cl.errors import UserError
from cl.tasks.example import Example

GAP = 16  # characters between two options of a list: a mark, blanks, a new line, the next letter; ours

Span = tuple[int, int]


def in_orders(example: Example, count: int) -> list[Example]:
    """An example in several orders of its options; unchanged and alone where its question lists none.

    Args:
        example: example of any style; only a `label` or `choice` has options.
        count: number of orders. 1: the question's own.

    Raises:
        UserError: for a question whose list of options cannot be recognised, see `places`.
    """
    found = places(example) if count > 1 else None
    if found is None:
        return [example]
    return [reordered(example, found, order) for order in orders(example.options, count)]


def orders(options: Sequence[str], count: int) -> list[tuple[str, ...]]:
    """Return `count` different orders of options, or all orders if there are fewer.

    They depend on the set of options alone. They are rotations of shuffled lists, so if `count` is a multiple of the
    number of options, every option stands equally often in every place.
    """
    names = sorted(set(options))
    chance = random.Random("\n".join(names))
    wanted = min(count, math.factorial(len(names)))
    found: dict[tuple[str, ...], None] = {}
    while len(found) < wanted:
        drawn = chance.sample(names, len(names))
        found |= dict.fromkeys((*drawn[start:], *drawn[:start]) for start in range(len(names)))
    return list(found)[:wanted]


def places(example: Example) -> list[Span] | None:
    """Where in its question the options of an example stand, in reading order; None if the question lists none.

    A list is recognised if all options follow one another as whole words, with at most GAP characters between two.
    That covers the sources of this project ("a; b; c?", "Option: a, b, c") and lettered lists.

    Raises:
        UserError: for a `choice` whose options are unknown, not listed, or not in the order of their letters; and for a
            label whose question holds all options in another form.
    """
    names = set(example.options)
    if example.style not in ("label", "choice") or (example.style == "label" and len(names) < 2):
        return None
    spans = _list(example.question, names) if names else None
    listed = [example.question[start:end] for start, end in spans or ()]
    if spans and (example.style == "label" or listed == list(example.options)):
        return spans
    if example.style == "choice" or all(_words({name}).search(example.question) for name in names):
        raise UserError(
            f"evaluation.choice_orders: question {example.question[:60]!r}: its options {list(example.options)} are "
            "not one list in the order of their letters; write them so, state them as `options`, or leave the setting "
            "out"
        )
    return None


def reordered(example: Example, spans: Sequence[Span], order: Sequence[str]) -> Example:
    """The example with its options in another order; the reference of a `choice` gets its new letters.

    Args:
        example: the example.
        spans: where its options stand.
        order: the options in the new order.
    """
    text = example.question
    for (start, end), option in reversed(list(zip(spans, order, strict=True))):
        text = text[:start] + option + text[end:]
    if example.style == "label":
        return replace(example, question=text)
    letters = {string.ascii_uppercase[old]: order.index(name) for old, name in enumerate(example.options)}
    answer, *accepted = (_lettered(each, letters) for each in (example.answer, *example.accepted))
    return replace(example, question=text, answer=answer, accepted=tuple(accepted), options=tuple(order))


def _lettered(answer: str, places: dict[str, int]) -> str:
    """An answer of letters with the letters of the new places."""
    if wrong := [letter for letter in answer if letter not in places]:
        raise UserError(f"evaluation.choice_orders: answer {answer!r}: {wrong[0]!r} is no option's letter; correct it")
    return "".join(sorted(string.ascii_uppercase[places[letter]] for letter in answer))


def _list(question: str, names: set[str]) -> list[Span] | None:
    """Places of the first run of all names, each once; None if there is none."""
    found = list(_words(names).finditer(question))
    for start in range(len(found) - len(names) + 1):
        run = found[start : start + len(names)]
        near = all(0 < after.start() - before.end() <= GAP for before, after in pairwise(run))
        if near and {match[0] for match in run} == names:
            return [match.span() for match in run]
    return None


def _words(names: set[str]) -> re.Pattern[str]:
    """Pattern of any of the names as whole words, longer names first."""
    longest_first = sorted(names, key=lambda name: (-len(name), name))
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)")
