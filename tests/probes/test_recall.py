"""Recall by hand; what a studied model recalls is in test_recognition.py, because one study serves both."""

from __future__ import annotations

import pytest

from cl.errors import UserError
from cl.probes.recall import Recall, agreement


def test_a_continuation_is_compared_alone_and_with_its_cue() -> None:
    found = agreement(["a", "b"], ["c", "d"], ["c", "x"])
    assert found == {"rouge_l": 0.5, "rouge_1": 0.5, "with_cue": 0.75, "exact": 0.0}
    assert agreement([], ["c"], ["c"])["exact"] == 1


def test_settings_are_checked() -> None:
    with pytest.raises(UserError, match="items: 0 must be at least 1"):
        Recall(items=0)
