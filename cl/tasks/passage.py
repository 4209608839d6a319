"""A passage: a text that is studied as a whole, with its twin, a text like it that is never studied."""

from __future__ import annotations

from dataclasses import dataclass

from cl.errors import UserError


@dataclass(frozen=True)
class Passage:
    """A text to study and its twin, the control of what is measured on the text.

    Args:
        text: the text to study.
        twin: a text that is not studied, such as another sentence, or the same with another word.

    Raises:
        UserError: for an empty text or twin, and for a twin that is the text itself.
    """

    text: str
    twin: str

    def __post_init__(self) -> None:
        if not self.text.strip() or not self.twin.strip():
            raise UserError(f"passage: text {self.text[:60]!r} or twin {self.twin[:60]!r} is empty")
        if self.text == self.twin:
            raise UserError(f"passage: the twin of {self.text[:60]!r} is the text itself")

    def __str__(self) -> str:
        return self.text
