"""The oracle shows the question's own document, and nothing where it is not stored."""

from __future__ import annotations

import numpy as np
import pytest

from cl.errors import UserError
from cl.methods.retrieves import Recall, ranked
from strategies.retrieval.oracle import Oracle


def test_it_shows_the_document_that_a_question_is_about() -> None:
    found = Oracle().scores(Recall(["one", "two", "three"], ["a?", "b?", "c?"], about=[2, None, 0]))
    assert ranked(np.asarray(found), 1) == [[2], [], [0]]
    assert ranked(np.asarray(Oracle().scores(Recall(["one"], ["a?"]))), 1) == [[]]


def test_several_documents_are_refused() -> None:
    with pytest.raises(UserError, match="k: 2 has no effect: a question is about one document"):
        Oracle(k=2)
