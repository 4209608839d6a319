"""Metrics of curves inside tasks, by hand."""

from __future__ import annotations

import math

import pytest

from cl.metrics.curve_metrics import stability_gap

NAN = math.nan


def test_stability_gap_from_curves() -> None:
    low, worst = stability_gap([[0.9, 0.4, 0.8], [0.7, 0.6]], current=0.8, every=50)
    assert (low.key, worst.key) == ("min_acc/every_50", "wc_acc/every_50")
    assert [low.value, worst.value] == pytest.approx([0.5, 0.8 / 3 + 2 / 3 * 0.5])
    assert [m.reason for m in stability_gap([], 0.8, 50)] == ["there is no earlier task"] * 2
    assert [m.reason for m in stability_gap([[0.9, NAN]], 0.8, 50)] == ["an evaluation is missing"] * 2
    assert [m.reason for m in stability_gap([[0.9]], NAN, 50)] == ["", "the current task was not evaluated"]
