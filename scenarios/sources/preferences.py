"""Synthetic preferences from instructions with verifiable answers: the right answer and a deliberately worse one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from cl import construction
from cl.errors import UserError
from cl.tasks.example import Example

WRAPPERS = ("Sure! The answer is {}.", "I think that it is {}, but I am not certain.", "Let me see. {}")


class Preferences:
    """Examples of an instruction source, each with a rejected answer.

    These preferences are synthetic and hold no human preferences. For human preferences use the source `examples` with
    the field `rejected`. Raises UserError for a source that yields no examples.

    Args:
        of: the source, as `source: NAME` with its settings.
        rejected: kind of the rejected answer. `content`: the answer to another question with the same style and
            options, in the right form; `form`: the right answer wrapped in talk; `both`: half of each, by the hash of
            the question. An example for which no other answer exists gets `form`.
        folder: folder of the scenario's file.
    """

    def __init__(
        self, of: dict[str, Any], rejected: Literal["content", "form", "both"] = "both", folder: str = "."
    ) -> None:
        settings = dict(of)
        name = settings.pop("source", None)
        if not isinstance(name, str):
            raise UserError("of: names no source; write for example {source: examples, path: my.jsonl}")
        self.of = construction.build("sources", name, settings, "of", folder=folder)
        self.rejected = rejected
        self.states_splits: bool = getattr(self.of, "states_splits", True)
        self.licence, self.about = self.of.licence, f"preferences ({rejected}) of: {self.of.about}"

    def documents(self) -> Iterator[Example]:
        """Yield the source's examples, each with a rejected answer."""
        found = list(self.of.documents())
        if not all(isinstance(example, Example) for example in found):
            raise UserError("of: the source yields text, which has no answers; take a source of instructions")
        for place, example in enumerate(found):
            yield replace(example, rejected=self._worse(example, place, found))

    def fingerprint(self) -> str:
        """Fingerprint and class of the source, and the kind of the rejected answer."""
        return json.dumps([type(self.of).__qualname__, self.of.fingerprint(), self.rejected])

    def code(self) -> tuple[str, ...]:
        """`module:Class` of the wrapped source, whose code is part of the node key."""
        return (f"{type(self.of).__module__}:{type(self.of).__qualname__}",)

    def _worse(self, example: Example, place: int, found: list[Example]) -> str:
        digest = hashlib.blake2b(example.question.encode(), digest_size=8).digest()
        content = self.rejected == "content" or (self.rejected == "both" and digest[0] % 2 == 0)
        other = _other(example, place, found) if content else None
        return WRAPPERS[digest[1] % len(WRAPPERS)].format(example.answer) if other is None else other


def _other(example: Example, place: int, found: list[Example]) -> str | None:
    """The next different answer with the same style and options, searched cyclically after the example; or None."""
    right = (example.answer, *example.accepted)
    for other in (*found[place + 1 :], *found[:place]):
        if (other.style, other.options) == (example.style, example.options) and other.answer not in right:
            return other.answer
    return None
