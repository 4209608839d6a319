"""A passage and its twin."""

from __future__ import annotations

import pytest

from cl.errors import UserError
from cl.tasks.passage import Passage


def test_a_passage_reads_as_its_text_and_not_as_its_twin() -> None:
    assert str(Passage("studied", "twin")) == "studied"


def test_a_passage_is_no_twin_of_itself_and_neither_is_empty() -> None:
    with pytest.raises(UserError, match="the twin of 'same' is the text itself"):
        Passage("same", "same")
    for text, twin in ((" ", "x"), ("x", "")):
        with pytest.raises(UserError, match="is empty"):
            Passage(text, twin)
