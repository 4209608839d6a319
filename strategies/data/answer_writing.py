"""Texts of a chat model for answer styles: explanations and wrong answers, each checked before it is used.

Chen et al. 2025 (SEFE), arXiv 2505.02486. As there, the writer is told the right answer and supports it; it never
answers by itself. Explanations have about 20 or 50 words. For a class, the explanation says why it is the category
[read, in the prompts of CoIN-ASD]. The wording is ours. So is plain text with one wrong answer per line instead of
JSON, which small models often break [our choice]. Whether an explanation contradicts the answer that it mentions is not
checked.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

from cl.tasks.answer_scoring import format_ok, mentions, plain
from cl.tasks.example import Example

if TYPE_CHECKING:
    from cl.models.text_cache import Texts

EXPLAINED: tuple[Literal["brief", "detail"], ...] = ("brief", "detail")
WRONG = {"yes_no": 1, "choice": 3}
TOLD = "Question: {question}\nAnswer: {answer}\n\nThe answer is right. "
PROMPTS = {
    "brief": TOLD + "In about 20 words, explain why the {what} is {answer}.",
    "detail": TOLD + "Explain in detail, in about 50 words, why the {what} is {answer}.",
    "yes_no": TOLD + "Write one other answer of the same kind that is plausible but wrong, and no more.",
    "choice": TOLD + "Write three other answers of the same kind, plausible but wrong, a line for each, and no more.",
}
PROMPT_VERSION = hashlib.sha256(json.dumps(PROMPTS, sort_keys=True).encode()).hexdigest()[:16]
MARK = re.compile(r"^\s*(?:[-*\u2022]|\(?(?:[0-9]|[A-Da-d])[.):])\s+")  # mark of a line in a list


class UnusableError(Exception):
    """A text cannot be used; the message is the reason."""


def truth(example: Example) -> str:
    """The answer in words: for a letter the text of its option."""
    if example.style == "choice":
        return example.options[string.ascii_uppercase.index(example.answer)]
    return example.answer


def prompt(example: Example, style: str) -> str:
    """Prompt of the writer: for an explanation (brief, detail), or for wrong answers (yes_no: one, choice: three)."""
    what = "category" if example.style == "label" else "answer"
    return PROMPTS[style].format(question=example.question, answer=truth(example), what=what)


def explanation(example: Example, text: str, style: str) -> Example:
    """The example with an explanation as its answer; its short answer stays accepted, for the score of the content."""
    return Example(example.question, text, "brief" if style == "brief" else "detail", accepted=(truth(example),))


def usable(text: str, example: Example, style: str) -> list[str]:
    """Extract from a text the explanation in one line, or the wrong answers.

    An explanation must have the length of its style and contain the right answer. Wrong answers must have the form of
    the right answer, differ from one another, and contain no right answer: "It is Paris" is as right as "Paris".

    Raises:
        UnusableError: with the reason.
    """
    if not text.strip():
        raise UnusableError("no text")
    if style in EXPLAINED:
        line = " ".join(text.split())
        if not format_ok(line, explanation(example, line, style)):
            raise UnusableError("wrong length")
        if not mentions(line, truth(example)):
            raise UnusableError("truth missing")
        return [line]
    lines = [MARK.sub("", line).strip().removesuffix(".").strip("\"'").removesuffix(".") for line in text.splitlines()]
    found = list({plain(line): line for line in lines if plain(line)}.values())[: WRONG[style]]
    if len(found) < WRONG[style]:
        raise UnusableError("too few")
    if not all(format_ok(line, example) and len(line.split()) <= _room(example) for line in found):
        raise UnusableError("wrong form")
    if any(mentions(line, right) for line in found for right in (truth(example), *example.accepted)):
        raise UnusableError("right answer")
    return found


def _room(example: Example) -> int:
    """Most words of a wrong answer: one much longer than the right answer would be recognisable as wrong."""
    return 2 * len(truth(example).split()) + 1


class Scribe:
    """Asks a writer about examples until enough of its texts can be used. Counts refused texts by reason.

    Args:
        texts: the writer and its cache.
        retries: further attempts at an example whose text cannot be used; then another example takes its place.
    """

    def __init__(self, texts: Texts, retries: int) -> None:
        self.texts, self.retries = texts, retries
        self.refused: Counter[str] = Counter()

    def ask(self, style: str, count: int, order: Sequence[int], examples: Sequence[Example]) -> dict[int, list[str]]:
        """Usable texts of the first `count` examples in `order` with any, by index; fewer if `order` ends first."""
        found: dict[int, list[str]] = {}
        ahead = iter(order)
        while len(found) < count and (asked := list(islice(ahead, count - len(found)))):
            for attempt in range(1 + self.retries):
                texts = self.texts.write([prompt(examples[index], style) for index in asked], attempt)
                for index, text in zip(asked, texts, strict=True):
                    try:
                        found[index] = usable(text, examples[index], style)
                    except UnusableError as reason:
                        self.refused[f"{style}: {reason}"] += 1
                asked = [index for index in asked if index not in found]
        return found

    def reasons(self, style: str) -> str:
        """Counts of refused texts of a style by reason, in words."""
        own = {key.partition(": ")[2]: count for key, count in self.refused.items() if key.startswith(f"{style}:")}
        return ", ".join(f"{reason} {count}" for reason, count in own.items()) or "none"

    def notes(self) -> dict[str, Any]:
        """The writer's identity, the version of its prompts, and counts of its texts."""
        return {
            "generator": self.texts.writer.identity,
            "prompts": PROMPT_VERSION,
            "written": self.texts.written,
            "from_file": self.texts.found,
            "refused": dict(self.refused),
            "warnings": self.texts.warnings,
        }
