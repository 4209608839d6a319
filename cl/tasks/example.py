"""An example: an instruction with its answer. Instruction tasks hold examples, text tasks hold documents of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

from cl.errors import UserError

Style = Literal["number", "yes_no", "choice", "label", "phrase", "json", "brief", "detail"]
"""Form of an answer: a number; Yes or No; an option's letter; one of the `options`; a word or phrase;
a JSON value; an explanation of about 20 words; an explanation of about 50 words."""

ROLES = ("tools", "system", "user", "assistant", "tool")
"""Roles of earlier turns; `tools` comes first and is the JSON list of the functions that a dialogue may call."""


@dataclass(frozen=True)
class Example:
    """One question with its reference answer.

    Args:
        question: question to the model, without chat markers.
        answer: reference answer, in the form of `style`.
        style: form of the answer.
        options: all labels for the style `label`; the texts of the options in the order of their letters for `choice`.
        accepted: further right answers.
        rejected: worse answer, for a preference.
        split: split in the public benchmark; None: the split is decided by the hash of the question.
        history: earlier turns of a dialogue, each with its role (one of ROLES) and its text. The hash of the first user
            turn decides the split, so all rows of a dialogue are in one split.
        asked: role of the question: a user's, or the result of a tool.

    Raises:
        UserError: for an empty question or answer, an unknown style, a label that is not in `options`, and earlier
            turns that are empty or of another role.
    """

    question: str
    answer: str
    style: Style
    options: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    rejected: str | None = None
    split: Literal["train", "validation", "test"] | None = None
    history: tuple[tuple[str, str], ...] = ()
    asked: Literal["user", "tool"] = "user"

    def __post_init__(self) -> None:
        if not self.question.strip() or not self.answer.strip():
            raise UserError(f"example: question {self.question[:60]!r} or answer {self.answer[:60]!r} is empty")
        if self.style not in get_args(Style):
            raise UserError(f"example: style {self.style!r} is none of {', '.join(get_args(Style))}")
        for role, text in self.history:
            if role not in ROLES or not text.strip():
                raise UserError(f"example: turn {text[:60]!r} is empty, or its role {role!r} none of {ROLES}")
        if self.rejected is not None and (not self.rejected.strip() or self.rejected == self.answer):
            raise UserError(f"example: rejected {self.rejected[:60]!r} is empty or the answer itself")
        if self.style == "label" and self.answer not in self.options:
            raise UserError(f"example: the label {self.answer!r} is none of the options {list(self.options)}")

    @staticmethod
    def parse(raw: dict[str, Any]) -> Example:
        """Build an example from `dataclasses.asdict` data that went through JSON."""
        lists = {name: tuple(raw[name]) for name in ("options", "accepted")}
        return Example(**raw | lists | {"history": tuple((role, text) for role, text in raw.get("history", ()))})

    @property
    def text(self) -> str:
        """All that is read before the answer, without roles."""
        return "\n".join([*(text for _, text in self.history), self.question])

    @property
    def start(self) -> str:
        """Text whose hash decides the split: the first user turn."""
        return next((text for role, text in self.history if role == "user"), self.question)

    def __str__(self) -> str:
        return f"{self.text}\n→ {self.answer}" + (f"\n✗ {self.rejected}" if self.rejected else "")
