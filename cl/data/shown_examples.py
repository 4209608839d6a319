"""Questions behind examples or documents that are shown: as earlier turns, or as text before the question.

With a chat template each shown example is a user turn with its question and an assistant turn with its answer, behind
the system turn and before the turns of the dialogue that is asked. Without one they are text:

    question 1 ⏎ answer 1 ⏎⏎ question 2 ⏎ answer 2 ⏎⏎ question asked ⏎

Documents are text before the question in either case: document 1 ⏎⏎ document 2 ⏎⏎ question asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cl.tasks.example import Example

Shown = Example | str
"""An example, or a document."""
FIRST = ("tools", "system")
"""Roles of turns that come first; those of the example that is asked stay."""
Tokens = tuple[list[int], list[int]]
"""Token ids of a question with all that is before it, and of its answer with the end of turn."""


def behind(asked: Example, shown: Sequence[Shown], chat: bool) -> Example:
    """An example with others, or with documents, before its question.

    Args:
        asked: the example.
        shown: the others, in the order in which they are read; either examples or documents.
        chat: there is a chat template; system turns of the shown examples are left out, for a template takes one.
    """
    if not shown:
        return asked
    examples = [each for each in shown if isinstance(each, Example)]
    if not chat or not examples:
        texts = (f"{each.text}\n{each.answer}" if isinstance(each, Example) else each for each in shown)
        return replace(asked, question="".join(f"{text}\n\n" for text in texts) + asked.question)
    first = [turn for turn in asked.history if turn[0] in FIRST]
    turns = [
        turn for each in examples for turn in (*each.history, (each.asked, each.question), ("assistant", each.answer))
    ]
    others = [turn for turn in (*turns, *asked.history) if turn[0] not in FIRST]
    return replace(asked, history=(*first, *others))


def fitted(
    asked: Example,
    best: Sequence[Shown],
    encode: Callable[[Example, Sequence[Shown]], Tokens],
    most: int,
) -> tuple[Tokens, int]:
    """Token ids of a question behind as many of the best examples as fit; the lowest rank is dropped first.

    Args:
        asked: the example that is asked.
        best: examples to show, best first.
        encode: token ids of an example behind others, given best first.
        most: largest number of tokens of the question with all that is before it.

    Returns:
        Token ids, and the number of examples that are shown; with none, the question may exceed `most`.
    """
    for count in range(len(best), 0, -1):
        found = encode(asked, best[:count])
        if len(found[0]) <= most:
            return found, count
    return encode(asked, ()), 0
