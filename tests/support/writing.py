"""A writer that is no model: it supports the answer that its prompt names, or says what a test wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

Say = Callable[[str, int], str]


def support(prompt: str, attempt: int = 0) -> str:
    """What a good writer makes of a prompt of `strategies.data.answer_writing`."""
    found = re.search(r"\nAnswer: (.*)\n", prompt)
    assert found is not None
    if "about" in prompt:
        return f"It is {found[1]}, {'and so on ' * (3 if '20' in prompt else 12)}as anyone can see."
    others = [str(int(found[1]) + n) for n in (1, 2, 3)] if found[1].isdigit() else ["one", "two", "three"]
    return "\n".join(others if "three" in prompt else others[:1])


class FakeWriter:
    """Counts what it is asked."""

    def __init__(self, say: Say = support, batch: int = 4, **identity: Any) -> None:
        self.say, self.batch = say, batch
        self.identity: dict[str, Any] = {"writer": "fake", "temperature": 0.5, **identity}
        self.calls: list[tuple[list[str], int]] = []

    def write(self, prompts: Sequence[str], attempt: int) -> list[str]:
        """One text for each prompt."""
        assert len(prompts) <= self.batch
        self.calls.append((list(prompts), attempt))
        return [self.say(prompt, attempt) for prompt in prompts]
