from __future__ import annotations

import pytest

from cl.errors import LONGEST, one_line

KNOWN = ", ".join(f"name{number}" for number in range(90))


@pytest.mark.parametrize(
    ("message", "start", "end"),
    [
        (f"model.name: '{'x' * 5000}' is no model; name another", "model.name: 'xxx", "xxx' is no model; name another"),
        (f"train: {[{'a': 'y' * 300}] * 9} must be text; quote it", "train: [{'a': 'yyy", "] must be text; quote it"),
        (f"a: 'b' is unknown; did you mean 'c'? (known: {KNOWN})", "a: 'b' is unknown; did you", "name88, name89)"),
        (f"seeds: {'9' * 4000} is too large", "seeds: 9999", "9999 is too large"),
        ("word " * 2000 + "at the end", "word word", "at the end"),
        ("'" * 100_000, "'''", "'''"),
    ],
)
def test_long_values_lose_their_middle_and_key_and_remedy_stay(message: str, start: str, end: str) -> None:
    found = one_line(message)
    assert len(found) <= LONGEST
    assert found.startswith(start)
    assert found.endswith(end)
    assert " … " in found


def test_a_message_is_one_line_without_control_characters() -> None:
    assert one_line("a:\n  'b\x1b[31m\ud800'\n") == r"a: 'b\x1b[31m\ud800'"
    assert one_line("Grüße: 'ä' … – ok") == "Grüße: 'ä' … – ok"
