"""What `cl compare` found, in words."""

from __future__ import annotations

import math

import pytest

from cl.metrics.statistics import Interval
from cl.reporting.html.comparison import span


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (Interval(1.234, 1.411), "1.23 … 1.41"),  # two digits of the width 0.18
        (Interval(-12.0, 30.0), "-12 … 30"),
        (Interval(0.5, 0.5), "0.500 … 0.500"),
        (Interval(math.nan, math.nan), "–"),
    ],
)
def test_an_interval_has_two_digits_of_its_width(bounds: Interval, expected: str) -> None:
    assert span(bounds) == expected
