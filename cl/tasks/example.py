"""An instruction with its answer: what an instruction task is made of, in place of a document of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from cl.errors import UserError

Style = Literal["number", "yes_no", "choice", "label", "phrase", "json", "brief", "detail"]
"""What an answer looks like: a number; Yes or No; an option's letter; one of the `options`; a word or phrase;
a JSON value; an explanation of about 20 words; one of about 50."""


@dataclass(frozen=True)
class Example:
    """One question with its reference answer.

    question: what the model is asked, without any chat marker; answer: the reference, in the form that is asked
    for; style: what an answer looks like; options: the labels or options among which the answer is, for `label`
    (the labels) and `choice` (the options' texts, in the order of their letters); accepted: further right
    answers; rejected: of a preference, the worse answer; split: where the public benchmark puts it,
    None = it is for us to split.
    Raises UserError for an empty question or answer, an unknown style, and a label that is none of the options.
    """

    question: str
    answer: str
    style: Style
    options: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    rejected: str | None = None
    split: Literal["train", "validation", "test"] | None = None

    def __post_init__(self) -> None:
        if not self.question.strip() or not self.answer.strip():
            raise UserError(f"example: question {self.question[:60]!r} or answer {self.answer[:60]!r} is empty")
        if self.style not in get_args(Style):
            raise UserError(f"example: style {self.style!r} is none of {', '.join(get_args(Style))}")
        if self.rejected is not None and (not self.rejected.strip() or self.rejected == self.answer):
            raise UserError(f"example: rejected {self.rejected[:60]!r} is empty or the answer itself")
        if self.style == "label" and self.answer not in self.options:
            raise UserError(f"example: the label {self.answer!r} is none of the options {list(self.options)}")

    @staticmethod
    def parse(raw: dict[str, Any]) -> Example:
        """Inverse of `dataclasses.asdict`, through JSON."""
        return Example(**raw | {"options": tuple(raw["options"]), "accepted": tuple(raw["accepted"])})

    def __str__(self) -> str:
        return f"{self.question}\n→ {self.answer}" + (f"\n✗ {self.rejected}" if self.rejected else "")
