"""Budgets that do not fit their scenario are told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from cl.errors import UserError
from tests.support.instruction import write_stream
from tests.support.training import plan


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("--examples=4", r"examples\.(copy|which): 4 is less than one optimizer step \(train\.batch\)"),
        ("--examples={copy: 16}", r"examples\.which: is missing; give the training examples of every task"),
        ("--tokens=5000", r"tokens: 5000 has no effect: no task of toy is counted in tokens"),
        ("--examples={copy: 16, which: 16, other: 16}", r"examples: task: 'other' is unknown"),
        ("--evaluation.items=-1", r"evaluation\.items: -1 must be at least 0"),
        ("--strategies={o_lora: {lora: {r: 0}}}", r"r 0 must be at least 1"),
    ],
)
def test_mistakes_are_told_in_one_line(setting: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        plan(write_stream(tmp_path), setting)
