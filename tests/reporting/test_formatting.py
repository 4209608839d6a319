"""Numbers as text for people."""

from __future__ import annotations

import math

import pytest

from cl.reporting.formatting import abbreviated, duration, fixed, plain, significant, thousands


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (duration(0.4), "<1 s"), (duration(42.4), "42 s"), (duration(444), "7.4 min"), (duration(2_540), "42 min"),
        (duration(11_000), "3.1 h"),
        (abbreviated(950), "950"), (abbreviated(4e6), "4 M"), (abbreviated(12_345), "12.3 k"),
        (thousands(12_345), "12\u2009345"), (thousands(None), "–"), (thousands({"train": 7}), "train: 7"),
        (significant(0.12345), "0.123"), (significant(1234.5, 4), "1234"), (significant(True), "True"),
        (significant(math.nan), "–"), (significant(None), "–"),
        (fixed(0.5), "0.500"), (fixed(0.123456, 4), "0.1235"), (fixed(None), "–"),
        (plain({"url": "x", "n": [1, 0.5]}), "url: x, n: 1, 0.5"), (plain([]), "–"), (plain(None), "–"),
    ],
)  # fmt: skip
def test_numbers_for_people(text: str, expected: str) -> None:
    assert text == expected
