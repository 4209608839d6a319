"""Roles and their text form."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.graph.roles import BASE, GRID, MEMORY, STATE, TOKENIZER, Inputs, Role, data


@pytest.mark.parametrize(
    ("role", "text"),
    [
        (STATE, "state"),
        (BASE, "base"),
        (TOKENIZER, "tokenizer"),
        (MEMORY, "memory"),
        (GRID, "grid"),
        (data("english"), "data/english"),
        (data("2024"), "data/2024"),  # a name of digits is a name
        (data("both:chat"), "data/both:chat"),
        (data("a/b"), "data/a/b"),
        (Role("memory", 0), "memory/0"),
        (Role("state", 2), "state/2"),
        (Role("trace", 11), "trace/11"),
        (Role("truth", 1), "truth/1"),
        (Role("teacher", 1), "teacher/1"),
        (Role("teacher", 0, "english"), "teacher/0/english"),
        (Role("teacher", 0, "2024"), "teacher/0/2024"),
        (Role("candidate", name="scores"), "candidate/scores"),
    ],
)
def test_a_role_is_found_again_in_its_text(role: Role, text: str) -> None:
    assert str(role) == text
    assert Role.parse(text) == role


def test_inputs_are_folders_by_role() -> None:
    folders = {STATE: Path("s"), data("b"): Path("b"), Role("teacher", 0, "b"): Path("t"), data("a"): Path("a")}
    inputs = Inputs(folders)
    assert dict(inputs) == folders
    assert inputs[STATE] == Path("s")
    assert inputs.get(BASE) is None
    assert inputs.datasets() == {"b": Path("b"), "a": Path("a")}
